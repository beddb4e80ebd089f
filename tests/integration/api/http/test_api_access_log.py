"""访问日志：每个请求一行，秘密一个不漏，正文各至多 50 KB。"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import Any

import pytest

from api.http.redaction import LIMIT, redact
from kaguan.config import load_settings
from tests.support.access_log import AccessLines
from tests.support.addresses import base_of
from tests.support.console import signed_in
from tests.support.eventually import eventually
from tests.support.folded import folded
from tests.support.serving import Api, serving

CANARY = "cAnArY-9d41c7"
FIELDS = {
    "method",
    "path",
    "status",
    "duration_ms",
    "request_id",
    "trace_id",
    "ip",
    "user_agent",
    "request_body",
    "response_body",
}


@pytest.fixture
def api(logged_api: Api) -> Api:
    return logged_api


async def test_a_request_is_one_line_with_every_field(api: Api, access_lines: AccessLines) -> None:
    body = {"iccids": ["8986001234567890123"]}
    reply = await api.call("POST", "/tasks/sim", body, {"User-Agent": "tester/1", "X-Request-ID": "req-1"})
    line = await access_lines.of("req-1")
    assert set(line) >= FIELDS
    assert (line["method"], line["path"], line["status"]) == ("POST", "/api/v1/tasks/sim", 202)
    assert (line["ip"], line["user_agent"], line["principal"]) == ("127.0.0.1", "tester/1", "test")
    assert json.loads(line["request_body"]) == body
    assert json.loads(line["response_body"]) == reply.body


@folded(
    ("content_type", "body"),
    [
        ("application/json", json.dumps({"username": "a", "email": "a@example.com", "password": CANARY})),
        ("application/json", json.dumps({"a": [{"deep": {"Client_Secret": CANARY}}]})),
        ("application/json", f'{{"password": "{CANARY}'),
        ("application/json", f'{{"pass\\u0077ord": "{CANARY}", "x": '),
        ("application/json", json.dumps({"filler": "x" * (LIMIT - 30), "password": CANARY * 20})),
        ("application/x-www-form-urlencoded", f"user=a&pass%77ord={CANARY}"),
        ("text/plain", f"Authorization: Bearer {CANARY}"),
    ],
)
async def test_no_planted_secret_reaches_the_log(
    api: Api, access_lines: AccessLines, content_type: str, body: str
) -> None:
    headers = {"Authorization": f"Bearer kg_{CANARY}", "X-Api-Key": CANARY, "Cookie": f"s={CANARY}"}
    authorised = {"Authorization": f"Bearer {api.token}"}
    for extra in (headers, authorised):
        sent = {**extra, "Content-Type": content_type, "User-Agent": f"x kg_{CANARY}"}
        async with api.session.post(f"/api/v1/users?token={CANARY}", data=body, headers=sent):
            pass
    await access_lines.last(2)
    text = access_lines.path.read_text("utf-8")
    assert CANARY not in text
    assert api.token not in text


async def test_bodies_are_cut_at_fifty_kilobytes(api: Api, access_lines: AccessLines) -> None:
    tasks = [{"type": "sim:status_sync", "iccids": ["8986001234567890123"]}] * 1000
    reply = await api.post("/tasks/batch", {"tasks": tasks})
    line = await access_lines.of(reply.body["request_id"])
    assert len(line["request_body"].encode()) == LIMIT
    assert len(line["response_body"].encode()) == LIMIT


async def test_bodies_turned_off_leave_their_size_only(environ: dict[str, str], access_lines: AccessLines) -> None:
    directory = str(access_lines.path.parent)
    settings = load_settings({**environ, "KAGUAN_LOGGING__DIRECTORY": directory, "KAGUAN_LOGGING__BODIES": "none"})
    async with serving(settings) as api:
        accepted = await api.post("/tasks/email", {"to": ["a@example.com"], "subject": CANARY, "body": CANARY})
        refused = await api.post("/tasks/email", {"subject": CANARY})
        lines = [await access_lines.of(reply.body["request_id"]) for reply in (accepted, refused)]
    assert [line["status"] for line in lines] == [202, 400]
    assert CANARY not in access_lines.path.read_text("utf-8")
    for line in lines:
        assert re.fullmatch(r"<省略 \d+ 字节>", line["request_body"])
        assert re.fullmatch(r"<省略 \d+ 字节>", line["response_body"])
        assert set(line) >= FIELDS


async def test_attachments_are_summarised_and_binary_is_a_note(api: Api, access_lines: AccessLines) -> None:
    content = base64.b64encode(b"attachment" * 1000).decode()
    email: dict[str, Any] = {
        "to": ["a@example.com"],
        "subject": "s",
        "body": "b",
        "attachments": [{"filename": "f", "content_type": "a/b", "content_base64": content}],
    }
    reply = await api.post("/tasks/email", email)
    assert reply.status == 202
    line = await access_lines.of(reply.body["request_id"])
    assert content[:100] not in line["request_body"]
    assert f"Base64 {len(content)}" in line["request_body"]
    headers = {"Authorization": f"Bearer {api.token}", "Content-Type": "image/png", "X-Request-ID": "binary"}
    async with api.session.post("/api/v1/tasks/email", data=b"\x89PNG\x00\xff" * 10, headers=headers) as response:
        assert response.status == 415
    assert (await access_lines.of("binary"))["request_body"].startswith("<二进制 60 字节")


async def test_control_characters_stay_on_one_line(api: Api, access_lines: AccessLines) -> None:
    headers = {"X-Request-ID": "lines", "User-Agent": "\x9b31m\u202e\u200b卡管"}
    async with api.session.get("/a%0d%0a%1b%e2%80%a8%c2%9bb", headers=headers) as response:
        assert response.status == 404
    line = await access_lines.of("lines")
    assert line["path"] == "/a\r\n\\u001b\\u2028\\u009bb"
    assert line["user_agent"] == "\\u009b31m\\u202e\\u200b卡管"


@pytest.mark.parametrize("content_type", ["a" + "(" * 7_000, "Mon, " + '"' * 7_000, "a/b; c=" + "d" * 7_000])
async def test_an_overlong_media_type_is_neither_parsed_nor_keeps_the_request_out_of_the_log(
    api: Api, access_lines: AccessLines, content_type: str
) -> None:
    for number, (path, status) in enumerate((("/nowhere", 404), ("/api/v1/users", 415), ("/console/login", 403))):
        headers = {"Content-Type": content_type, "X-Request-ID": f"type-{number}"}
        headers["Authorization"] = f"Bearer {api.token}"
        async with api.session.post(path, data=b"{}", headers=headers) as response:
            assert response.status == status
        assert (await access_lines.of(f"type-{number}"))["request_body"] == "{}"


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_logged(api: Api, access_lines: AccessLines) -> None:
    url = base_of(api.session)
    _, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        (
            f"POST /api/v1/tasks/email HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n"
            "X-Request-ID: left\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        ).encode()
    )
    await writer.drain()
    writer.close()
    line = await access_lines.of("left")
    assert 400 <= line["status"] < 500


async def test_a_stream_is_logged_when_it_ends(api: Api, access_lines: AccessLines) -> None:
    task_id = (await api.post("/tasks/sim", {"iccids": ["8986001234567890123"]})).data["task_id"]
    await api.post(f"/tasks/{task_id}/cancel", None)
    headers = {"Authorization": f"Bearer {api.token}", "X-Request-ID": "stream"}
    async with api.session.get(f"/api/v1/tasks/{task_id}/events", headers=headers) as response:
        await response.read()
        assert response.status == 200
    noted = (await access_lines.of("stream"))["response_body"].splitlines()
    assert [json.loads(line)["task_id"] for line in noted] == [task_id] * len(noted) != []


async def test_pages_and_documents_are_noted_as_text_without_their_secrets(api: Api, access_lines: AccessLines) -> None:
    """网页、YAML、指标的应答同样记下；表单里防伪造的令牌遮住。"""
    for number, path in enumerate(("/docs", "/metrics", "/console/login")):
        headers = {"Authorization": f"Bearer {api.token}", "X-Request-ID": f"page-{number}"}
        async with api.session.get(path, headers=headers) as response:
            text = await response.text()
            assert (response.status, response.content_type != "application/json") == (200, True)
        noted = (await access_lines.of(f"page-{number}"))["response_body"]
        assert text.startswith(noted) != (noted == "")
    page = b'<input type="hidden" name="csrf_token" value="%b"><p>x</p>' % CANARY.encode()
    assert redact(page, "text/html") == '<input type="hidden" name="csrf_token" value="***"><p>x</p>'


async def test_a_client_that_leaves_a_stream_frees_it_and_is_logged(api: Api, access_lines: AccessLines) -> None:
    task_id = (await api.post("/tasks/sim", {"iccids": ["8986001234567890123"]})).data["task_id"]
    headers = {"Authorization": f"Bearer {api.token}", "X-Request-ID": "gone"}
    async with api.session.get(f"/api/v1/tasks/{task_id}/events", headers=headers) as response:
        assert await response.content.readline()
        response.close()
    assert (await access_lines.of("gone"))["status"] == 200


async def test_every_request_is_counted_by_its_route_not_its_path(api: Api) -> None:
    for number in (1, 2, 3):
        await api.get(f"/users/{number}")

    async def counted() -> bool:
        async with api.session.get("/metrics") as response:
            text = await response.text()
        return 'kaguan_http_request_seconds_count{method="GET",route="/api/v1/users/{id}",status="404"} 3.0' in text

    assert await eventually(counted)


async def test_what_an_open_page_asks_for_by_itself_is_a_short_line(api: Api, access_lines: AccessLines) -> None:
    """两秒一问：记下谁看了什么，不记画出来的；另留的那一份里连行也没有。页面自己照样整个记下。"""
    async with signed_in(api) as visitor:
        for path in ("/console/live/overview", "/console/live/nowhere", "/"):
            await visitor.get(path)
    lines = {line["path"]: line for line in await access_lines.last(4)}
    assert lines["/console/live/overview"]["response_body"].startswith("<省略 ")
    assert len(json.dumps(lines["/console/live/overview"], ensure_ascii=False).encode()) < 450 * 1.1
    assert "<html" in lines["/"]["response_body"]
    assert "<html" in lines["/console/live/nowhere"]["response_body"]
    accepted = AccessLines(access_lines.path.with_name("access.accepted.log"))
    await eventually(lambda: "/" in {line["path"] for line in accepted.all()})
    assert "/console/live/overview" not in {line["path"] for line in accepted.all()}
