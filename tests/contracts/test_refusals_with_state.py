"""要有状态才有的拒绝——权限、冲突、限额、积压、太慢、出错、数据库不在——也都是信封，访问日志里恰有一行。"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import endpoint
from api.routes import ROUTES
from kaguan.config import load_settings
from kaguan.idempotency import store
from kaguan.tokens import service as tokens
from tests.chaos.proxy import Proxy
from tests.contracts.documented import header_faults, response_of
from tests.support.access_log import AccessLines
from tests.support.eventually import PACE, eventually
from tests.support.serving import Reply, serving

V1 = "/api/v1"
ITEM = "/users/{id}"
USER = {"username": "zhang.san", "email": "zhang.san@example.com", "password": "correct horse"}
MAIL = {"to": ["a@example.com"], "subject": "s", "body": "b"}
KEY = {"Idempotency-Key": "k1"}


@pytest.fixture
def logged(environ: dict[str, str], access_lines: AccessLines) -> dict[str, str]:
    """访问日志写到文件的环境。"""
    return {**environ, "KAGUAN_LOGGING__DIRECTORY": str(access_lines.path.parent)}


async def one_line(lines: AccessLines, reply: Reply, pattern: str, answer: tuple[int, int]) -> None:
    """这个拒绝的头如文档所说，日志里它的请求号恰有一行。"""
    assert (reply.status, reply.code) == answer, reply.text
    line = await lines.of(reply.body["request_id"])
    assert line["status"] == answer[0]
    assert json.loads(line["response_body"]) == reply.body
    declared = response_of(line["method"], V1 + pattern, reply.status)["headers"]
    assert header_faults(declared, reply.headers) == []


async def test_refusals_by_scope_conflict_version_size_and_key(
    logged: dict[str, str], access_lines: AccessLines
) -> None:
    async with serving(load_settings({**logged, "KAGUAN_API__BODY_LIMIT": "65536"})) as api:
        async with api.pool.connection() as connection:
            reader = replace(api, token=(await tokens.create(connection, "reader", ["tasks:read"])).token)
        await one_line(access_lines, await reader.post("/tasks/email", MAIL), "/tasks/email", (403, 1003))
        assert (await api.call("POST", "/users", USER, KEY)).status == 201
        await one_line(access_lines, await api.post("/users", USER), "/users", (409, 1005))
        stale = await api.put("/users/1", {"status": "banned"}, {"If-Match": '"9"'})
        await one_line(access_lines, stale, ITEM, (412, 1013))
        large = await api.post("/tasks/email", {**MAIL, "body": "x" * 70_000})
        await one_line(access_lines, large, "/tasks/email", (413, 1007))
        other = await api.call("POST", "/users", {**USER, "username": "li.si"}, KEY)
        await one_line(access_lines, other, "/users", (422, 1011))
        async with api.pool.connection() as connection, connection.transaction():
            assert await store.lock(connection, "test", "held")
            busy = await api.call("POST", "/users", USER, {"Idempotency-Key": "held"})
            await one_line(access_lines, busy, "/users", (409, 1012))


async def test_refusals_by_rate_and_by_backlog(logged: dict[str, str], access_lines: AccessLines) -> None:
    async with serving(load_settings({**logged, "KAGUAN_API__RATE_PER_TOKEN": "1"})) as api:

        async def limited() -> Any:
            reply = await api.get("/tasks")
            return reply if reply.status == 429 else None

        await one_line(access_lines, await eventually(limited), "/tasks", (429, 1006))
    async with serving(load_settings({**logged, "KAGUAN_API__BACKLOG_LIMIT": "1"}), name="second") as api:

        async def overloaded() -> Any:
            reply = await api.post("/tasks/email", MAIL)
            return reply if reply.status == 503 else None

        await one_line(access_lines, await eventually(overloaded), "/tasks/email", (503, 2003))


async def test_a_request_that_waits_too_long(logged: dict[str, str], access_lines: AccessLines) -> None:
    async with serving(load_settings(logged)) as api:  # 建的时候不赶
        assert (await api.post("/users", USER)).status == 201
    short = {**logged, "KAGUAN_API__REQUEST_TIMEOUT": f"{PACE:g}"}
    async with serving(load_settings(short), name="second") as api:
        async with api.pool.connection() as connection, connection.transaction():
            await connection.execute("select from tb_user where id = 1 for update")
            slow = await api.put("/users/1", {"status": "banned"})
        await one_line(access_lines, slow, ITEM, (504, 2004))


async def test_a_handler_with_a_fault(logged: dict[str, str], access_lines: AccessLines) -> None:
    @endpoint("GET", f"{V1}/fault", scope="tasks:read", summary="总是出错", tag="测试")
    async def fault(_call: Call[Any, Any]) -> Answer:
        raise RuntimeError("secret detail")

    async with serving(load_settings(logged), routes=(*ROUTES, fault)) as api:
        broken = await api.get("/fault")
        assert "secret" not in broken.text
        await one_line(access_lines, broken, "/tasks", (500, 2001))


async def test_a_database_that_is_away(logged: dict[str, str], access_lines: AccessLines, database_url: str) -> None:
    target = urlsplit(database_url).port
    assert target is not None
    proxy = Proxy(target)
    await proxy.start()
    through = {
        "KAGUAN_DATABASE__URL": database_url.replace(f":{target}/", f":{proxy.port}/"),
        "KAGUAN_DATABASE__ACQUIRE_TIMEOUT": f"{3 * PACE:g}",  # 拒绝要等满它；谁停顿一两秒，还不到
    }
    async with serving(load_settings({**logged, **through})) as api:

        async def recovered() -> bool:
            return (await api.get("/users")).status == 200

        await eventually(recovered)
        proxy.refuse()
        await one_line(access_lines, await api.get("/users"), "/users", (503, 2002))
        proxy.heal()
        await eventually(recovered)
    await proxy.stop()
