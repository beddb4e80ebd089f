"""访问日志里没受理的请求：正文至多 2 KB、从不解析，再多也挤不掉受理了的。"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from api.http.access import SHORT_PATH
from api.http.redaction import REFUSED_LIMIT
from api.http.refused import ADDRESS_BURST
from kaguan.config import load_settings
from tests.support.access_log import AccessLines
from tests.support.folded import folded
from tests.support.serving import Api, serving

CANARY = "cAnArY-51c0de"


@pytest.fixture
def api(logged_api: Api) -> Api:
    return logged_api


@folded(
    ("method", "path", "content_type", "authenticated", "status"),
    [
        ("POST", "/api/v1/users", "application/json", False, 401),
        ("POST", "/nowhere", "application/json", False, 404),
        ("PATCH", "/api/v1/users/1", "application/json", False, 405),
        ("POST", "/health/live", "application/json", False, 405),
        ("GET", "/health/live", "application/x-www-form-urlencoded", False, 400),
        ("POST", "/console/login", "application/x-www-form-urlencoded", False, 403),
        ("POST", "/api/v1/users", "text/plain", True, 415),
        ("POST", "/api/v1/users", "application/json", True, 400),  # 坏 JSON
        ("POST", "/nowhere", "application/json", True, 404),
    ],
)
async def test_a_body_nobody_accepted_is_logged_to_two_kilobytes_and_not_parsed(
    api: Api,
    access_lines: AccessLines,
    method: str,
    path: str,
    content_type: str,
    authenticated: bool,
    status: int,
) -> None:
    body = '{"a":   1, "password":  "' + CANARY + '", "b": "' + "x" * 30_000
    request_id = f"{method}-{status}-{authenticated}"
    headers = {"Content-Type": content_type, "X-Request-ID": request_id}
    if authenticated:
        headers["Authorization"] = f"Bearer {api.token}"
    async with api.session.request(method, path, data=body, headers=headers) as response:
        assert response.status == status
    line = await access_lines.of(request_id)
    assert 0 < len(line["request_body"].encode()) <= REFUSED_LIMIT
    assert len(line["response_body"].encode()) <= REFUSED_LIMIT
    assert line["request_body"].startswith('{"a":   1, ')  # 空白原样：没有解析过再写
    assert CANARY not in str(line)


async def test_an_accepted_body_is_logged_whole_even_if_its_content_is_refused(
    api: Api, access_lines: AccessLines
) -> None:
    body = {"to": ["a@example.com"], "subject": "s", "body": "pass " + "a" * 30_000, "unknown": 1}
    reply = await api.call("POST", "/tasks/email", body)
    assert reply.status == 400
    line = await access_lines.of(reply.body["request_id"])
    assert json.loads(line["request_body"]) == body


async def test_a_flood_of_refused_requests_cannot_wash_the_evidence_away(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """被拒的写到比留下的全部历史还多，先前受理的那一行（连同正文）仍在。"""
    directory = tmp_path / "logs"
    limits = {"KAGUAN_LOGGING__MAX_BYTES": "65536", "KAGUAN_LOGGING__BACKUPS": "2"}
    settings = load_settings({**environ, **limits, "KAGUAN_LOGGING__DIRECTORY": str(directory)})
    async with serving(settings) as api:
        body = {"iccids": ["8986001234567890123"]}
        assert (await api.call("POST", "/tasks/sim", body, {"X-Request-ID": "evidence"})).status == 202
        for _ in range(400):
            async with api.session.post("/" + "p" * 1_000, data=b"x" * 51_000) as response:
                assert response.status == 404
    everything, accepted = (lines_of(directory, name) for name in ("access.log", "access.accepted.log"))
    assert "evidence" not in {line["request_id"] for line in everything}  # 三个文件都让被拒的占了
    (kept,) = (line for line in accepted if line["request_id"] == "evidence")
    assert json.loads(kept["request_body"]) == body
    assert {line["status"] for line in accepted} == {202}


async def test_refused_requests_beyond_their_share_are_still_a_line_each_but_a_short_one(
    api: Api, access_lines: AccessLines
) -> None:
    count = ADDRESS_BURST // REFUSED_LIMIT * 2
    for number in range(count):
        headers = {"X-Request-ID": f"n{number}", "User-Agent": "u" * 500}
        async with api.session.post("/" + "p" * 1_000, data=b"x" * 51_000, headers=headers) as response:
            assert response.status == 404
    lines = {line["request_id"]: line for line in await access_lines.last(count)}
    assert set(lines) == {f"n{number}" for number in range(count)}
    assert (len(lines["n0"]["request_body"]), len(lines["n0"]["path"])) == (REFUSED_LIMIT, 1_001)
    short = [line for line in lines.values() if line["request_body"] == "<省略 51000 字节>"]
    assert short  # 慢的机器上额度边用边回来，哪几个短说不准
    assert {len(line["path"]) for line in short} == {SHORT_PATH}
    assert max(len(json.dumps(line)) for line in short) < 700
    reply = await api.get("/users")  # 额度是被拒的：受理了的照常
    assert json.loads((await access_lines.of(reply.body["request_id"]))["response_body"]) == reply.body


def lines_of(directory: Path, name: str) -> list[dict[str, Any]]:
    files = [file for file in directory.glob(f"{name}*") if file.suffix != ".lock"]
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
