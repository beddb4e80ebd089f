"""API 的故障：死在两次插入之间、COMMIT 的回音丢了、线路慢或被复位、只有一条连接（FAULTS.md 1、2、44、46）。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
from psycopg import sql

from kaguan.config import load_settings
from kaguan.database.pool import Connection, Pool, open_pool
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Done, Outcome
from kaguan.tokens import service as tokens
from tests.chaos.proxy import Proxy
from tests.support.eventually import PACE, PATIENCE, eventually
from tests.support.fault_plant import (
    EFFECT_TABLE,
    QUICK,
    Effects,
    all_closed,
    child,
    effects,
    local,
    only_kaguan,
    port_of,
    relaying,
    through,
)
from tests.support.pipeline import open_pipeline
from tests.support.places import own_port
from tests.support.serving import Api, Reply, serving

DATABASE, REDIS = "KAGUAN_DATABASE__URL", "KAGUAN_REDIS__URL"
USER = {"username": "zhangsan", "email": "zhangsan@example.com", "password": "correct horse"}
MAIL = {"to": ["a@example.com"], "subject": "s", "body": "b"}
SIM = {"iccids": ["8986001234567890123"]}
COUNTS = "select (select count(*) from tb_user), (select count(*) from vw_task), (select count(*) from tb_outbox)"
LATENCY = 0.2  # 秒，每个方向


# ---- 死


@pytest.mark.direct("API 死了，看的是它的会话断了没有；经连接池，会话是池子的")
@pytest.mark.parametrize(
    ("path", "body", "blocked", "allowed"),
    [
        ("/users", USER, "tb_task", {(0, 0, 0)}),  # 用户已插入，任务还没有
        ("/tasks/email", MAIL, "tb_outbox", {(0, 0, 0), (0, 1, 1)}),  # 一条语句：都有或都没有
    ],
)
async def test_an_api_killed_between_two_inserts_leaves_no_half(
    environ: dict[str, str],
    pool: Pool,
    tmp_path: Path,
    path: str,
    body: dict[str, Any],
    blocked: str,
    allowed: set[tuple[int, int, int]],
) -> None:
    async with pool.connection() as connection:
        token = (await tokens.create(connection, "test", tokens.SCOPES)).token
    port = own_port()
    given = {**only_kaguan(environ), "KAGUAN_API__PORT": str(port)}
    headers = {"Authorization": f"Bearer {token}"}
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(child("api", given, tmp_path / "api.log"))
        client = await stack.enter_async_context(aiohttp.ClientSession(local(port), headers=headers))
        await eventually(lambda: ready(client))
        holder = await stack.enter_async_context(
            await psycopg.AsyncConnection.connect(environ[DATABASE], autocommit=True)
        )
        async with holder.transaction():
            await holder.execute(f"lock table {blocked} in share row exclusive mode".encode())
            request = asyncio.create_task(client.post(f"/api/v1{path}", json=body))

            async def at_the_lock() -> bool:
                # 另一条连接看：一个事务里，会话的名单停在头一眼
                async with pool.connection() as looking:
                    cursor = await looking.execute(
                        "select from pg_stat_activity where wait_event_type = 'Lock'"
                        " and application_name = 'kaguan-api'"
                    )
                    return await cursor.fetchone() is not None

            await eventually(at_the_lock)
            await api.kill()
            with pytest.raises(aiohttp.ClientError):
                await request

        async def sessions_gone() -> bool:
            cursor = await holder.execute("select from pg_stat_activity where application_name = 'kaguan-api'")
            return await cursor.fetchone() is None

        await eventually(sessions_gone)
        row = await (await holder.execute(COUNTS.encode())).fetchone()
        assert row in allowed


async def reads(api: Api) -> bool:
    return (await api.get("/users")).code == 0


async def ready(client: aiohttp.ClientSession) -> bool:
    try:
        async with client.get("/health/ready") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


# ---- 线路


@asynccontextmanager
async def served(environ: dict[str, str], **more: str) -> AsyncIterator[tuple[Api, Proxy, Proxy]]:
    """一个应用，到两个服务器各经一个代理。"""
    database, redis = Proxy(port_of(environ[DATABASE])), Proxy(port_of(environ[REDIS]))
    async with AsyncExitStack() as stack:
        for proxy in (database, redis):
            await proxy.start()
            stack.push_async_callback(proxy.stop)
        given = {
            **environ,
            **more,
            DATABASE: through(environ[DATABASE], database.target, database.port),
            REDIS: through(environ[REDIS], redis.target, redis.port),
        }
        yield await stack.enter_async_context(serving(load_settings(given))), database, redis


@pytest.mark.parametrize(
    ("path", "body", "key", "swallowed", "table"),
    [
        ("/tasks/email", {**MAIL, "request_id": "lost-1"}, None, b"outbox_accept", "tb_task"),
        ("/users", USER, "lost-2", b"COMMIT\x00", "tb_user"),  # 不是 BEGIN ISOLATION LEVEL READ COMMITTED
    ],
)
async def test_a_lost_commit_reply_is_an_error_and_the_same_key_finds_the_one_resource(
    environ: dict[str, str], pool: Pool, path: str, body: dict[str, Any], key: str | None, swallowed: bytes, table: str
) -> None:
    headers = {"Idempotency-Key": key} if key else {}

    async def rows() -> int:
        async with pool.connection() as connection:
            cursor = await connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(table)))
            row = await cursor.fetchone()
            return int(row[0]) if row else 0

    async with served(environ, KAGUAN_API__REQUEST_TIMEOUT=f"{PACE:g}") as (api, database, _):
        await eventually(lambda: reads(api))  # 令牌已在缓存里
        database.swallow(swallowed)

        async def lost() -> bool:
            reply = await api.call("POST", path, body, headers)
            assert reply.status in {503, 504}
            return await rows() == 1

        await eventually(lost)  # 其实提交了
        database.heal()
        database.cut()

        async def answered() -> Reply | None:
            reply = await api.call("POST", path, body, headers)
            return reply if reply.code == 0 else None

        first = await eventually(answered)
        assert first is not None
        again = await eventually(answered)
        assert again is not None
        assert first.data == again.data
        assert await rows() == 1


async def test_two_tenths_of_a_second_of_latency_are_survived_within_the_time_limit(environ: dict[str, str]) -> None:
    async with served(environ) as (api, database, redis):
        assert (await api.post("/tasks/sim", SIM)).status == 202
        for proxy in (database, redis):
            proxy.delay = LATENCY

        async def most_in_time() -> bool:
            replies = await asyncio.gather(*(api.post("/tasks/email", MAIL) for _ in range(8)))
            assert {reply.status for reply in replies} <= {202, 503, 504}
            return sum(reply.status == 202 for reply in replies) >= 4

        await eventually(most_in_time)
        for proxy in (database, redis):
            proxy.heal()
        assert (await api.post("/tasks/email", MAIL)).status == 202


async def test_reset_connections_are_errors_in_time_and_replaced(environ: dict[str, str]) -> None:
    async with served(environ) as (api, database, redis):
        accepted, failed = 0, set()
        for number in range(30):
            if number % 3 == 0:
                database.reset()
            if number % 5 == 0:
                redis.reset()
            async with asyncio.timeout(PATIENCE):
                reply = await api.post("/tasks/email", MAIL)
            accepted += reply.status == 202
            if reply.status != 202:
                failed.add(reply.code)
        assert failed <= {2002, 2004}
        assert accepted > 0

        async def recovered() -> bool:
            return (await api.post("/tasks/email", MAIL)).status == 202

        await eventually(recovered)
        ((tasks,),) = await api.rows("select count(*) from vw_task")
        assert tasks >= accepted + 1


def carried_since(proxy: Proxy, before: int) -> bool:
    """慢下来之后还过了几个来回。"""
    return proxy.chunks >= before + 10


def holds(proxy: Proxy) -> bool:
    return proxy.stuck > 0


async def test_relay_and_workers_get_through_latency_resets_and_half_open_lines(
    environ: dict[str, str], pool: Pool
) -> None:
    """两条线路轮番慢、断、黑：黑洞里的连接没有人说再见，也不许永远等下去。"""
    database, redis = Proxy(port_of(environ[DATABASE])), Proxy(port_of(environ[REDIS]))
    async with AsyncExitStack() as stack:
        for proxy in (database, redis):
            await proxy.start()
            stack.push_async_callback(proxy.stop)
        settings = load_settings(
            {
                **environ,
                **QUICK,
                DATABASE: through(environ[DATABASE], database.target, database.port),
                REDIS: through(environ[REDIS], redis.target, redis.port),
                "KAGUAN_REDIS__SOCKET_TIMEOUT": "1.5",
                "KAGUAN_WORKER__LEASE": "30",
                "KAGUAN_DATABASE__ACQUIRE_TIMEOUT": "1",
            }
        )
        crooked_pool = await stack.enter_async_context(open_pool(settings.database, "crooked"))
        crooked = await stack.enter_async_context(open_pipeline(settings, crooked_pool))
        straight = await stack.enter_async_context(open_pipeline(load_settings({**environ, **QUICK}), pool))
        await straight.sql(EFFECT_TABLE)
        async with crooked.working(Effects(0.05)), relaying(crooked):
            for proxy in (redis, database):
                await straight.submit(10)
                proxy.delay = LATENCY
                await eventually(partial(carried_since, proxy, proxy.chunks))
                proxy.heal()
                await straight.submit(10)
                proxy.reset()
                await straight.submit(10)
                proxy.blackhole()
                await eventually(partial(holds, proxy))
                proxy.reset()
                proxy.heal()
            await eventually(lambda: all_closed(straight))
        assert await effects(straight) == (60, 60)


# ---- 只有一条连接


async def test_one_connection_serves_every_kind_of_request_without_a_deadlock(environ: dict[str, str]) -> None:
    """请求里再要第二条连接就会自己等自己。"""
    one = {"KAGUAN_DATABASE__POOL_MIN": "1", "KAGUAN_DATABASE__POOL_MAX": "1"}
    async with serving(load_settings({**environ, **one})) as api:
        calls = []
        for number in range(4):
            user = {**USER, "username": f"user{number}", "email": f"user{number}@example.com"}
            order = {"amount": 100, "user": {**user, "username": f"buyer{number}", "email": f"b{number}@example.com"}}
            calls += [
                api.call("POST", "/users", user, {"Idempotency-Key": f"u-{number}"}),
                api.call("POST", "/orders", order, {"Idempotency-Key": f"o-{number}"}),
                api.call("POST", "/tasks/email", MAIL, {"Idempotency-Key": f"m-{number}"}),
                api.post("/tasks/email", {**MAIL, "request_id": f"r-{number}"}),
                api.post("/tasks/batch", {"tasks": [{"type": "sim:status_sync", **SIM}]}),
                api.get("/users"),
                api.get("/tasks"),
                api.get("/sims"),
            ]
        async with asyncio.timeout(PATIENCE):
            replies = await asyncio.gather(*calls)
        assert {reply.code for reply in replies} == {0}


async def test_an_exhausted_pool_is_a_quick_503_and_recovers(environ: dict[str, str]) -> None:
    one = {
        "KAGUAN_DATABASE__POOL_MIN": "1",
        "KAGUAN_DATABASE__POOL_MAX": "1",
        "KAGUAN_DATABASE__ACQUIRE_TIMEOUT": "0.3",
    }
    async with serving(load_settings({**environ, **one})) as api:
        await eventually(lambda: reads(api))
        async with api.pool.connection(timeout=PATIENCE):  # 后台的循环也借
            async with asyncio.timeout(PATIENCE):
                replies = await asyncio.gather(
                    *(api.get("/users") for _ in range(5)), *(api.post("/tasks/email", MAIL) for _ in range(5))
                )
            assert {(reply.status, reply.code) for reply in replies} == {(503, 2002)}
            assert all(int(reply.headers["Retry-After"]) >= 1 for reply in replies)

        async def recovered() -> bool:
            return (await api.post("/tasks/email", MAIL)).status == 202

        await eventually(recovered)


@pytest.mark.unjudged("效果记的不是任务号")
async def test_workers_with_one_connection_finish_everything(environ: dict[str, str]) -> None:
    """处理器自己开事务、结算又要连接：轮流，不嵌套。"""
    settings = load_settings(
        {
            **environ,
            **QUICK,
            "KAGUAN_DATABASE__POOL_MIN": "1",
            "KAGUAN_DATABASE__POOL_MAX": "1",
            "KAGUAN_WORKER__LEASE": "60",
        }
    )

    async def write(connection: Connection) -> None:
        await connection.execute("insert into fault_effect values (gen_random_uuid(), 1)")

    async def handler(attempt: Attempt) -> Outcome:
        async with attempt.transaction() as connection:
            await write(connection)
        await attempt.report(1, 2)
        return Done({}, write)

    async with open_pool(settings.database, "test") as pool, open_pipeline(settings, pool) as pipeline:
        await pipeline.sql(EFFECT_TABLE)
        await pipeline.submit(30)
        async with pipeline.working(handler), relaying(pipeline):
            await eventually(lambda: all_closed(pipeline))
        assert await pipeline.sql("select status, max(attempt) from vw_task group by 1") == [("succeeded", 1)]
        assert await pipeline.sql("select count(*) from fault_effect") == [(60,)]
