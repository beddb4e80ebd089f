from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from dataclasses import replace
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from api.endpoints.endpoint import Endpoint
from api.http.guard import GUARD, Guard
from api.http.keys import SERVICES
from api.routes import ROUTES
from kaguan.config import Settings, load_settings
from kaguan.config.model import Environment
from kaguan.database.pool import Pool
from kaguan.dev.simulator import iccid_at
from kaguan.sims.vocabulary import Carrier
from kaguan.tokens import service as tokens
from kaguan.tokens import store
from kaguan.words.units import DAY
from tests.support.addresses import base_of
from tests.support.eventually import PATIENCE, eventually
from tests.support.raw_http import exchange
from tests.support.serving import Api, serving

SIM: dict[str, Any] = {"iccids": ["8986001234567890123"]}
UUID = "01989f2e-0000-7000-8000-000000000000"
USER = {"username": "alice", "email": "a@example.com", "password": "correct horse"}
GUARDED = [(route, route.scope) for route in ROUTES if route.scope is not None]


def somewhere(route: Endpoint, number: int = 1, **given: str) -> str:
    """路由的一条路径，指着第 ``number`` 个，或 ``task_id`` 这样的给了的那一个。"""
    iccid = iccid_at(Carrier.ONELINK, number)
    names = dict.fromkeys(("task_id", "pause_id", "acknowledgement_id"), UUID) | given
    filled = route.pattern.format(id=number, change=number, iccid=iccid, name=number, **names)
    return filled.removeprefix("/api/v1")


async def with_scopes(api: Api, name: str, scopes: list[str]) -> Api:
    async with api.pool.connection() as connection:
        return replace(api, token=(await tokens.create(connection, name, scopes)).token)


async def test_every_route_wants_exactly_its_scope(api: Api) -> None:
    holders, others = {}, {}
    for number, scope in enumerate(tokens.SCOPES):
        holders[scope] = await with_scopes(api, f"holder-{number}", [scope])
        without = {scope, tokens.OPERATE} if scope == tokens.LOOK else {scope}  # ops 自然也能看
        others[scope] = await with_scopes(api, f"other-{number}", [one for one in tokens.SCOPES if one not in without])
    for route, scope in GUARDED:
        body: dict[str, object] | None = {} if route.body else None
        refused = await others[scope].call(route.method, somewhere(route), body)
        assert (refused.status, refused.code) == (403, 1003), route.name
        allowed = await holders[scope].call(route.method, somewhere(route), body)
        assert allowed.status not in {401, 403, 405, 500}, route.name


async def test_who_may_not_ask_cannot_tell_what_is_there_from_what_is_not(api: Api) -> None:
    """没有权限的、没有令牌的：有的与没有的，答得一个字不差。"""
    assert (await api.post("/users", USER)).status == 201
    assert (await api.post("/orders", {"user_id": 1, "amount": 1})).status == 201
    assert (
        await api.post("/sims", {"sims": [{"iccid": iccid_at(Carrier.ONELINK, 1), "carrier": "onelink"}]})
    ).status == 201
    task_id = (await api.post("/tasks/sim", SIM)).data["task_id"]
    paused = (await api.post("/pauses", {"scope": "key", "name": "k", "reason": "r", "seconds": DAY})).data["id"]
    await api.rows("insert into tb_vanished (task_id, type, delivery) values (gen_random_uuid(), 'x', 1)")
    known = await api.post("/verdict/acknowledgements", {"code": "vanished", "reason": "r", "seconds": DAY})
    stop = {"change": "suspend", "iccids": [iccid_at(Carrier.ONELINK, 1)], "reason": "r"}
    assert (await api.post("/sims/changes", stop)).data["id"] == 1
    nobody = replace(api, token="none")
    pointed = [(route, scope) for route, scope in GUARDED if "{" in route.pattern and "{name" not in route.pattern]
    for number, (route, scope) in enumerate(pointed):
        names = {"task_id": task_id, "pause_id": paused, "acknowledgement_id": known.data["id"]}
        there, absent = somewhere(route, **names), somewhere(route, 2)
        assert await said(api, route, there) != await said(api, route, absent)
        stranger = await with_scopes(api, f"stranger-{number}", [one for one in tokens.SCOPES if one != scope])
        for caller in (stranger, nobody):
            assert await said(caller, route, there) == await said(caller, route, absent)


async def said(api: Api, route: Endpoint, path: str) -> tuple[int, str]:
    """状态与说的话；改动的都带一个永远对不上的版本，问过之后什么也没变。"""
    bodies = {"/users": {"status": "banned"}, "/tasks": {"outcome": "happened", "note": "n"}}
    body = next((one for start, one in bodies.items() if path.startswith(start)), {"remark": "r"})
    body = {"reason": "r"} if path.endswith("/payload") else body
    body = {"reason": "r", "priority": "default"} if path.endswith("/change") else body
    async with api.session.request(
        route.method,
        f"/api/v1{path}",
        json=body if route.body else None,
        headers={"Authorization": f"Bearer {api.token}", "If-Match": '"9"'},
    ) as response:
        streaming = response.content_type == "text/event-stream"
        return response.status, "" if streaming else (await response.json())["msg"]


async def test_an_order_that_brings_its_user_wants_both_scopes(api: Api) -> None:
    seller = await with_scopes(api, "seller", ["orders:write"])
    refused = await seller.post("/orders", {"user": USER, "amount": 1})
    assert (refused.status, refused.code) == (403, 1003)
    assert "users:write" in refused.body["msg"]
    assert await api.rows("select count(*) from tb_user") == [(0,)]
    both = await with_scopes(api, "both", ["orders:write", "users:write"])
    assert (await both.post("/orders", {"user": USER, "amount": 1})).status == 201


async def test_the_last_use_of_a_token_outlives_the_process(settings: Settings, pool: Pool) -> None:
    numbers = count()

    async def is_written() -> bool:
        """停机不为它久等：正停顿着，就再停一回。"""
        async with serving(settings, name=f"user-{next(numbers)}") as api:
            assert (await api.get("/tasks")).status == 200
        async with pool.connection() as connection:
            return any(row.last_used_at is not None for row in await store.select_all(connection))

    await eventually(is_written)


async def test_a_revoked_token_stops_working_at_once_in_every_process(environ: dict[str, str], direct_url: str) -> None:
    settings = load_settings({**environ, "KAGUAN_DATABASE__LISTEN_URL": direct_url})

    def remembering(app: web.Application) -> None:
        app[GUARD] = Guard(app[SERVICES], remembered=3_600.0)  # 只能是通知的功劳

    async with (
        serving(settings, adapt=remembering) as first,
        serving(settings, name="other", adapt=remembering) as second,
    ):
        caller = await with_scopes(first, "leaver", ["tasks:read"])
        callers = (caller, replace(second, token=caller.token))
        for one in callers:
            assert (await one.get("/tasks")).status == 200
        async with first.pool.connection() as connection:
            assert await store.revoke(connection, "leaver")

        async def refused() -> bool:
            return {(await one.get("/tasks")).status for one in callers} == {401}

        await eventually(refused)
        assert (await first.get("/tasks")).status == 200


async def test_a_revocation_whose_notice_is_lost_takes_effect_within_a_second(api: Api) -> None:
    caller = await with_scopes(api, "leaver", ["tasks:read"])
    assert (await caller.get("/tasks")).status == 200
    await api.rows("update tb_api_token set revoked_at = now() where name = 'leaver'")

    async def refused() -> bool:
        return (await caller.get("/tasks")).status == 401

    await eventually(refused)


async def test_an_expired_token_is_refused(api: Api) -> None:
    async with api.pool.connection() as connection:
        issued = await tokens.create(connection, "short", ["tasks:read"], lifetime=3600)
        await connection.execute("update tb_api_token set expires_at = now() where name = 'short'")
    assert (await replace(api, token=issued.token).get("/tasks")).code == 1002


async def test_only_the_digest_of_a_token_is_stored(api: Api) -> None:
    rows = await api.rows("select t::text from tb_api_token t")
    assert api.token not in str(rows)
    assert rows


async def test_a_401_says_how_to_authenticate(api: Api) -> None:
    reply = await api.call("GET", "/tasks", headers={"Authorization": "Basic eDp5"})
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """限流的钟，停在一秒里：几十个请求再慢也不跨窗口。"""
    now = time.time()
    stopped = SimpleNamespace(time=lambda: now, monotonic=time.monotonic)
    monkeypatch.setattr("api.http.limits.time", stopped)
    return stopped


@pytest.mark.usefixtures("clock")
async def test_the_request_after_the_limit_of_a_token_is_refused(environ: dict[str, str]) -> None:
    environ |= {"KAGUAN_API__RATE_PER_TOKEN": "5"}
    async with serving(load_settings(environ)) as api:
        replies = await asyncio.gather(*(api.get("/tasks") for _ in range(40)))
        counts = Counter((reply.status, reply.code) for reply in replies)
        assert set(counts) == {(200, 0), (429, 1006)}
        assert 5 <= counts[200, 0] <= 10  # Redis 答得慢了，本地从头数
        refused = next(reply for reply in replies if reply.status == 429)
        assert refused.headers["Retry-After"] == "1"
        assert refused.headers["RateLimit-Policy"] == '"token";q=5;w=1'
        assert refused.headers["RateLimit"] == '"token";r=0;t=1'
        served = next(reply for reply in replies if reply.status == 200)
        assert served.headers["RateLimit-Policy"] == '"token";q=5;w=1'
        assert served.headers["RateLimit"].startswith('"token";r=')


@pytest.mark.usefixtures("clock")
async def test_a_spoofed_forwarded_address_does_not_reset_the_limit(environ: dict[str, str]) -> None:
    environ |= {"KAGUAN_API__RATE_PER_ADDRESS": "5"}
    async with serving(load_settings(environ)) as api:
        calls = [api.call("GET", "/tasks", headers={"X-Forwarded-For": f"10.0.0.{n}"}) for n in range(40)]
        replies = await asyncio.gather(*calls)
        counts = Counter(reply.status for reply in replies)
        assert counts[200] <= 10
        assert counts[429] >= 30
        assert {reply.headers["RateLimit"] for reply in replies if reply.status == 429} == {'"address";r=0;t=1'}


@pytest.mark.usefixtures("clock")
async def test_probes_are_never_refused_and_nothing_else_is_a_probe(environ: dict[str, str]) -> None:
    environ |= {"KAGUAN_API__RATE_PER_ADDRESS": "5"}

    async def status_of(path: str) -> int:
        async with api.session.get(path) as response:
            return response.status

    async with serving(load_settings(environ)) as api:
        for path in ("/health/live", "/api/v1/health/live"):
            assert set(await asyncio.gather(*(status_of(path) for _ in range(40)))) == {200}
        assert 429 in await asyncio.gather(*(status_of("/healthy") for _ in range(40)))


async def test_a_trusted_proxy_names_the_client(environ: dict[str, str]) -> None:
    environ |= {"KAGUAN_API__RATE_PER_ADDRESS": "5", "KAGUAN_API__TRUSTED_PROXIES": '["127.0.0.0/8"]'}
    async with serving(load_settings(environ)) as api:
        calls = [api.call("GET", "/tasks", headers={"X-Forwarded-For": f"6.6.6.6, 10.0.0.{n}"}) for n in range(40)]
        assert Counter(reply.status for reply in await asyncio.gather(*calls)) == {200: 40}


async def test_without_redis_a_local_limit_holds(environ: dict[str, str], clock: SimpleNamespace) -> None:
    environ |= {"KAGUAN_API__RATE_PER_TOKEN": "5", "KAGUAN_REDIS__URL": "redis://127.0.0.1:1/0"}
    async with serving(load_settings(environ)) as api:
        counts = Counter(reply.status for reply in await asyncio.gather(*(api.get("/tasks") for _ in range(40))))
        assert set(counts) == {200, 429}
        assert 5 <= counts[200] <= 10
        clock.time = time.time  # 下一秒又放行
        assert (await eventually(lambda: _accepted(api))).status == 202


async def _accepted(api: Api) -> Any:
    reply = await api.post("/tasks/sim", SIM)
    return reply if reply.status == 202 else None


async def test_a_backlog_over_its_limit_refuses_new_work_but_not_questions(environ: dict[str, str]) -> None:
    environ |= {"KAGUAN_API__BACKLOG_LIMIT": "2"}
    async with serving(load_settings(environ)) as api:
        for _ in range(3):
            assert (await api.post("/tasks/sim", SIM)).status == 202

        async def overloaded() -> Any:
            reply = await api.post("/tasks/sim", SIM)
            return reply if reply.status == 503 else None

        reply = await eventually(overloaded)
        assert reply.code == 2003
        assert int(reply.headers["Retry-After"]) >= 1
        assert (await api.get("/tasks")).status == 200
        await api.rows("delete from tb_outbox")

        async def served() -> bool:
            return (await api.post("/tasks/sim", SIM)).status == 202

        await eventually(served)


async def test_a_slow_body_is_timed_out_and_others_are_served(environ: dict[str, str]) -> None:
    environ |= {"KAGUAN_API__READ_TIMEOUT": "0.3"}
    async with serving(load_settings(environ)) as api:
        url = base_of(api.session)
        assert url.host is not None
        assert url.port is not None
        head = (
            f"POST /api/v1/tasks/email HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n"
            "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        slow = asyncio.create_task(exchange(url.host, url.port, head.encode()))
        assert (await api.get("/tasks")).status == 200
        reply = await slow
        assert (reply.status, reply.envelope["code"]) == (504, 2004)


async def test_a_client_that_takes_no_answers_is_cut_off_and_others_are_served(settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    async with serving(settings, write_timeout=0.3) as api:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.settimeout(0)
            await loop.sock_connect(client, api.address)
            # 应答共几十兆，内核的缓冲装不下
            await loop.sock_sendall(client, b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 200)

            async def cut_off() -> bool:
                assert (await api.get("/tasks")).status == 200
                try:
                    client.send(b"x")
                except BlockingIOError:
                    return False
                except ConnectionError:
                    return True
                return False

            await eventually(cut_off)


async def test_a_connection_that_sends_no_whole_request_is_closed(environ: dict[str, str]) -> None:
    environ |= {"KAGUAN_API__KEEPALIVE_TIMEOUT": "0.3"}
    async with serving(load_settings(environ)) as api:
        url = base_of(api.session)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
        writer.close()


async def test_cross_origin_requests_are_off_unless_configured(environ: dict[str, str]) -> None:
    origin = {"Origin": "https://console.example"}
    preflight = {**origin, "Access-Control-Request-Method": "POST"}
    async with serving(load_settings(environ)) as api:
        assert "Access-Control-Allow-Origin" not in (await api.call("GET", "/tasks", headers=origin)).headers
        async with api.session.options("/api/v1/tasks/sim", headers=preflight) as response:
            assert response.status == 405
    environ |= {"KAGUAN_API__CORS_ORIGINS": '["https://console.example"]'}
    async with serving(load_settings(environ), name="second") as api:
        reply = await api.call("GET", "/tasks", headers=origin)
        assert reply.headers["Access-Control-Allow-Origin"] == origin["Origin"]
        async with api.session.options("/api/v1/tasks/sim", headers=preflight) as response:
            assert response.status == 204
        other = await api.call("GET", "/tasks", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in other.headers


async def test_metrics_are_for_this_machine_or_an_operator(api: Api) -> None:
    async with api.session.get("/metrics") as response:
        assert response.status == 200
        assert "kaguan_http_request_seconds" in await response.text()
    proxied = {"X-Forwarded-For": "1.2.3.4"}
    async with api.session.get("/metrics", headers=proxied) as response:
        assert response.status == 401
    reader = await with_scopes(api, "reader", ["tasks:read"])
    for caller, status in ((reader, 403), (api, 200)):
        headers = {**proxied, "Authorization": f"Bearer {caller.token}"}
        async with api.session.get("/metrics", headers=headers) as response:
            assert response.status == status


@pytest.mark.parametrize("environment", [Environment.PROD, Environment.STAGING])
async def test_in_production_even_this_machine_needs_an_operator_s_token_for_metrics(
    settings: Settings, environment: Environment
) -> None:
    async with serving(settings.model_copy(update={"env": environment})) as api:
        async with api.session.get("/metrics") as response:
            assert response.status == 401
        async with api.session.get("/metrics", headers={"Authorization": f"Bearer {api.token}"}) as response:
            assert response.status == 200
