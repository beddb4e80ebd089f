"""闲着的连接断了：代理嫌它安静、NAT 忘了它、地址搬了家。借的人撞不上，池子自己换新，重连不一拥而上。"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import psycopg
import pytest

from kaguan.config import Settings, load_settings
from kaguan.database.pool import Pool, open_pool
from kaguan.outbox.testing import Recorder
from kaguan.outbox.work.claiming import Claims
from kaguan.outbox.work.leases import Leases
from tests.chaos.proxy import Proxy
from tests.support.eventually import PATIENCE, eventually
from tests.support.fault_plant import port_of, through
from tests.support.pipeline import open_pipeline
from tests.support.serving import serving

SIZE = 3  # 池里的连接
SILENCE = 0.3  # 秒
ROUNDS = 2
MAIL = {"to": ["a@example.com"], "subject": "s", "body": "b"}
POOL = {
    "KAGUAN_DATABASE__POOL_MIN": str(SIZE),
    "KAGUAN_DATABASE__POOL_MAX": str(SIZE),
    "KAGUAN_DATABASE__LISTEN_URL": "off",  # 只看池子
    "KAGUAN_DATABASE__CHECK_IDLE": "3600",  # 停顿几秒也不算歇久了
}
WARY = {"KAGUAN_DATABASE__CHECK_IDLE": "0.000001"}  # 歇一下就问


@pytest.fixture
async def proxy(direct_url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(port_of(direct_url))
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
def environ_through(proxy: Proxy, direct_url: str, environ: dict[str, str]) -> dict[str, str]:
    url = through(direct_url, port_of(direct_url), proxy.port)
    return {**environ, **POOL, "KAGUAN_DATABASE__URL": url}


@pytest.fixture
def settings(environ_through: dict[str, str]) -> Settings:
    return load_settings(environ_through)


@asynccontextmanager
async def full_pool(settings: Settings) -> AsyncIterator[Pool]:
    """装满了的池。"""
    async with open_pool(settings.database, "test") as pool:
        await eventually(lambda: pool.get_stats()["pool_available"] == SIZE)
        yield pool


async def ask(pool: Pool, number: int) -> int:
    async with pool.connection() as connection:
        cursor = await connection.execute("select %s::int", (number,), prepare=False)
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def everyone_is_answered(pool: Pool) -> None:
    assert await asyncio.gather(*(ask(pool, n) for n in range(2 * SIZE))) == list(range(2 * SIZE))


async def test_behind_a_proxy_that_cuts_what_is_silent_no_request_and_no_task_fails(
    proxy: Proxy, settings: Settings
) -> None:
    """全断了，再一起来：请求、转交、认领、结算，一个不失败，一个不重投。"""
    done = Recorder()
    async with (
        serving(settings) as api,
        open_pool(settings.database, "worker") as own,
        open_pipeline(settings, own) as pipeline,
        pipeline.working(done),
    ):
        for finished in range(SIZE, SIZE * (ROUNDS + 1), SIZE):
            proxy.silence = SILENCE
            await eventually(lambda: proxy.links == 0)
            proxy.silence = math.inf  # 正在答的，答得慢也不断
            replies = await asyncio.gather(
                *(api.get("/tasks?page_size=1") for _ in range(SIZE)),
                *(api.post("/tasks/email", MAIL) for _ in range(SIZE)),
            )
            assert {reply.status for reply in replies} == {200, 202}
            await pipeline.forwarder.run_once()
            await eventually(partial(reached, done, finished))
        await eventually(lambda: settled(api.pool))
        assert [pool.get_stats().get("requests_errors", 0) for pool in (api.pool, own)] == [0, 0]


def reached(done: Recorder, count: int) -> bool:
    return len(done.attempts) == count


async def settled(pool: Pool) -> bool:
    """一次尝试、一次投递，全做成了。"""
    async with pool.connection() as connection:
        cursor = await connection.execute("select status, attempt, delivery, count(*) from vw_task group by 1, 2, 3")
        return await cursor.fetchall() == [("succeeded", 1, 1, ROUNDS * SIZE)]


async def test_connections_that_a_nat_forgot_are_found_before_they_are_lent(
    proxy: Proxy, environ_through: dict[str, str]
) -> None:
    """看着好好的，一说话就断：歇得久的先问一句，写也不失败。"""
    async with full_pool(load_settings({**environ_through, **WARY})) as pool:
        proxy.forget()
        await everyone_is_answered(pool)


async def test_the_first_loss_makes_the_pool_try_all_it_holds(proxy: Proxy, settings: Settings) -> None:
    """地址搬了家，连接都刚用过：头一个撞上，别人不再撞上。"""
    async with full_pool(settings) as pool:
        await everyone_is_answered(pool)
        proxy.forget()
        with pytest.raises(psycopg.OperationalError):
            await ask(pool, 0)
        await eventually(lambda: pool.get_stats()["returns_bad"] >= SIZE)  # 没有人再来借，也都试过了
        await everyone_is_answered(pool)


async def test_a_read_that_is_cut_off_is_answered_by_another_connection(proxy: Proxy, settings: Settings) -> None:
    async with serving(settings) as api:
        await eventually(lambda: api.pool.get_stats()["pool_available"] == SIZE)
        for _ in range(2):
            await everyone_is_answered(api.pool)  # 都刚用过：头一个读撞上
            proxy.forget()
            assert {(await api.get("/tasks?page_size=1")).status for _ in range(SIZE)} == {200}


async def test_a_claim_that_is_cut_off_is_made_again_at_once(proxy: Proxy, settings: Settings) -> None:
    endless = 10 * PATIENCE  # 要退避就等不到了
    async with full_pool(settings) as pool, open_pipeline(settings, pool) as pipeline:
        (task_id,) = await pipeline.submit()
        await pipeline.forwarder.run_once()
        await everyone_is_answered(pool)  # 都刚用过：认领撞上
        proxy.forget()
        claims = Claims(pool, Leases(pool, "worker-a", 60.0), backoff=(endless, endless))
        (claimed,) = await claims.claim([(task_id, 1)])
        assert (claimed.id, pool.get_stats()["returns_bad"] > 0) == (task_id, True)


async def test_connections_into_a_black_hole_are_given_up_on_and_replaced(
    proxy: Proxy, environ_through: dict[str, str]
) -> None:
    """不断也不答：问一句，等一会儿，其余的一起试；新的照常连得上。"""
    async with full_pool(load_settings({**environ_through, **WARY})) as pool:
        proxy.mute()
        await everyone_is_answered(pool)


async def test_a_busy_connection_is_not_asked_first(proxy: Proxy, settings: Settings) -> None:
    async with full_pool(settings) as pool:
        await everyone_is_answered(pool)
        before = proxy.chunks
        for number in range(20):
            await ask(pool, number)
        assert proxy.chunks - before == 2 * 20


async def test_a_cancellation_that_meets_the_connection_it_waited_for_is_kept(settings: Settings) -> None:
    """3.11 的 ``wait_for`` 会把它吞掉：被取消的还往下做，连接也不还。"""
    async with full_pool(settings) as pool:
        held = [await pool.getconn() for _ in range(SIZE)]
        waiting = asyncio.create_task(ask(pool, 1))
        await eventually(lambda: pool.get_stats()["requests_waiting"] == 1)
        await pool.putconn(held.pop())
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        assert await ask(pool, 2) == 2
        for connection in held:
            await pool.putconn(connection)


async def test_keepalives_and_age_are_set_as_configured(environ: dict[str, str], direct_url: str) -> None:
    given = {
        "KEEPALIVE_IDLE": "11",
        "KEEPALIVE_INTERVAL": "7",
        "UNACKNOWLEDGED_TIMEOUT": "9",
        "CONNECTION_MAX_AGE": "77",
    }
    keys = {f"KAGUAN_DATABASE__{name}": value for name, value in given.items()}
    config = load_settings({**environ, "KAGUAN_DATABASE__URL": direct_url, **keys}).database
    async with open_pool(config, "test") as pool, pool.connection() as connection:
        found: dict[str, Any] = connection.info.get_parameters()
        expected = {"keepalives_idle": "11", "keepalives_interval": "7", "tcp_user_timeout": "9000"}
        assert expected.items() <= found.items()
        assert pool.max_lifetime == 77
