"""每一种拒绝：信封、状态、码、访问日志里的一行。"""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from typing import Any

from api.routes import ROUTES
from tests.support.access_log import AccessLines
from tests.support.addresses import base_of
from tests.support.eventually import PATIENCE
from tests.support.folded import folded
from tests.support.raw_http import exchange
from tests.support.serving import Api

ENVELOPE = {"code", "msg", "data", "request_id", "timestamp"}
EMAIL = "/api/v1/tasks/email"


def request_bytes(line: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([line, "Host: kaguan", *headers, "", ""]).encode("latin-1") + body


async def test_a_method_that_no_route_declares_is_refused_with_those_that_are(api: Api) -> None:
    declared: defaultdict[str, set[str]] = defaultdict(set)
    for route in ROUTES:
        declared[re.sub(r"\{\w+\}", "1", route.pattern)].add(route.method)
    for path, methods in declared.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - methods:
            async with api.session.request(method, path) as response:
                assert response.status == 405, (method, path)
                assert methods <= set(response.headers["Allow"].split(",")), (method, path)


@folded(
    ("method", "path", "headers", "body", "answer"),
    [
        ("GET", "/nowhere", {}, None, (404, 1004)),
        ("DELETE", "/health", {}, None, (405, 1008)),
        ("TRACE", "/health", {}, None, (405, 1008)),
        ("GET", EMAIL, {}, None, (405, 1008)),
        ("GET", "/api/v1/tasks?until=0.5", {}, None, (400, 1001)),
        ("GET", "/api/v1/users", {"Authorization": ""}, None, (401, 1002)),
        ("GET", "/api/v1/users", {"Authorization": "Bearer kg_" + "A" * 43}, None, (401, 1002)),
        ("GET", "/api/v1/users", {"Authorization": "Bearer nonsense"}, None, (401, 1002)),
        ("POST", EMAIL, {"Content-Type": "text/plain"}, b"{}", (415, 1009)),
        ("POST", EMAIL, {"Content-Type": "application/json; charset=gbk"}, b"{}", (415, 1009)),
        ("POST", EMAIL, {"Content-Type": "application/json; charset=nonsense"}, b"{}", (415, 1009)),
        ("POST", EMAIL, {"Content-Type": "application/json"}, b"{", (400, 1010)),
        ("POST", EMAIL, {"Content-Type": "application/json"}, b"{}", (400, 1001)),
        ("POST", EMAIL, {"Content-Type": "application/json", "Content-Encoding": "gzip"}, b"not gzip", (400, 1010)),
        ("GET", "/api/v1/users/0", {}, None, (400, 1001)),
        ("GET", "/api/v1/users/9223372036854775807", {}, None, (404, 1004)),
        ("GET", "/api/v1/users?page=0", {}, None, (400, 1001)),
        ("GET", "/api/v1/users?nonsense=1", {}, None, (400, 1001)),
        ("GET", "/health", {"Expect": "nonsense"}, None, (417, 1001)),
    ],
)
async def test_every_refusal_is_an_envelope_and_one_line_in_the_access_log(
    api: Api,
    access_lines: AccessLines,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes | None,
    answer: tuple[int, int],
) -> None:
    sent = {"Authorization": f"Bearer {api.token}", **headers}
    async with api.session.request(method, path, headers=sent, data=body) as response:
        envelope = await response.json()
        assert (response.status, envelope["code"]) == answer
        assert set(envelope) - {"trace_id"} == ENVELOPE
        assert response.headers["X-Request-ID"] == envelope["request_id"]
        assert "Server" not in response.headers
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    line = await access_lines.of(envelope["request_id"])
    assert (line["method"], line["path"], line["status"]) == (method, path.partition("?")[0], answer[0])
    assert line["duration_ms"] >= 0
    assert line["ip"] == "127.0.0.1"
    assert json.loads(line["response_body"])["code"] == answer[1]
    assert line["request_body"] == (body or b"").decode() or "gzip" in str(headers)
    assert api.token not in json.dumps(line)


@folded(
    "raw",
    [
        b"NONSENSE\r\n\r\n",
        request_bytes("GET /health HTTP/9.9"),
        request_bytes("GET /health HTTP/1.1", "Content-Length: nonsense"),
        request_bytes("GET /health HTTP/1.1", "Content-Length: -1"),
        request_bytes("POST /health HTTP/1.1", "Content-Length: 3", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        request_bytes("GET /health HTTP/1.1", "X-Long: " + "a" * 20_000),
        request_bytes("GET /" + "a" * 20_000 + " HTTP/1.1"),
        request_bytes("GET /health HTTP/1.1", "Broken Header: 1"),
    ],
)
async def test_malformed_http_is_answered_in_the_envelope_and_logged(
    api: Api, access_lines: AccessLines, raw: bytes
) -> None:
    url = base_of(api.session)
    assert url.host is not None
    assert url.port is not None
    reply = await exchange(url.host, url.port, raw)
    assert 400 <= reply.status < 500
    assert set(reply.envelope) - {"trace_id"} == ENVELOPE
    assert "server" not in reply.headers
    line = await access_lines.of(reply.envelope["request_id"])
    assert line["status"] == reply.status


async def test_an_address_that_is_not_encoded_is_told_so_in_both_languages_with_the_code_explained(api: Api) -> None:
    url = base_of(api.session)
    assert url.host is not None
    assert url.port is not None
    reply = await exchange(url.host, url.port, "GET /api/v1/sims?q=张 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert reply.status == 400
    assert "百分号编码" in reply.envelope["msg"]
    assert "percent-encode" in reply.envelope["msg"]
    assert reply.headers["link"] == '</docs#code-1001>; rel="help"'


async def test_method_not_allowed_names_what_is_allowed(api: Api) -> None:
    async with api.session.patch("/api/v1/users/1") as response:
        assert response.status == 405
        assert set(response.headers["Allow"].split(",")) >= {"GET", "PUT", "DELETE"}


async def test_errors_are_chinese_unless_english_is_preferred(api: Api) -> None:
    for language, word in [
        ("", "不存在"),
        ("zh-CN,en;q=0.5", "不存在"),
        ("en-US,zh;q=0.1", "not found"),
        ("\x01;;q=x", "不存在"),
    ]:
        headers = {"Accept-Language": language} if language.isprintable() else {}
        async with api.session.get("/nowhere", headers=headers) as response:
            assert (await response.json())["msg"] == word


async def test_validation_names_every_field_at_once(api: Api) -> None:
    body: dict[str, Any] = {"to": ["ok@example.com", "not an address"], "cc": [1], "subject": "a\r\nBcc: x", "x": 1}
    reply = await api.post("/tasks/email", body)
    assert reply.code == 1001
    assert set(reply.faulty) == {"to[1]", "cc[0]", "subject", "body", "x"}


async def test_a_sane_request_id_is_taken_and_any_other_replaced(api: Api) -> None:
    for given, taken in [("abc.DEF-1_2", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("a;b", False)]:
        async with api.session.get("/health/live", headers={"X-Request-ID": given}) as response:
            envelope = await response.json()
            assert (envelope["request_id"] == given) is taken
            assert response.headers["X-Request-ID"] == envelope["request_id"]


async def test_a_trace_parent_is_honoured_in_the_log_and_the_task(api: Api, access_lines: AccessLines) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    reply = await api.call("POST", "/tasks/sim", {"iccids": ["8986001234567890123"]}, headers)
    assert reply.status == 202
    line = await access_lines.of(reply.body["request_id"])
    assert line["trace_id"] == trace_id
    task = await api.get(f"/tasks/{reply.data['task_id']}")
    assert task.data["trace_id"] == trace_id


async def test_chunks_from_a_client_of_http_1_0_end_the_connection(api: Api) -> None:
    reader, writer = await asyncio.open_connection(*api.address)
    chunked = b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    writer.write(b"GET /health/live HTTP/1.0\r\nHost: x\r\n" + chunked)
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()  # 到对方关了为止
    assert b" 200 " in answer.splitlines()[0]
    assert b"keep-alive" not in answer.lower()
    writer.close()
