"""Redis 被杀又回来，一整队进程都连回来：错开，不一拥而上，也没有一个落下。

PostgreSQL 的那一半在 tests/integration/database/test_reconnecting.py。
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from kaguan.config import load_settings
from tests.chaos.proxy import Proxy
from tests.support.alongside import alongside
from tests.support.crowding import crowd, ticking
from tests.support.eventually import eventually
from tests.support.fault_plant import EFFECT_TABLE, all_closed, effects, own_directory, own_valkey, through
from tests.support.pipeline import open_pipeline
from tests.support.redis_fleet import FLEET, STEP, Return, is_whole, open_fleet
from tests.support.sentinel import tell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from kaguan.database.pool import Pool
    from tests.chaos.servers import Server

TASKS = 20
AWAY = 4.0  # 秒
FIXED = 1.0  # 秒
CONNECTIONS = 3  # 对照的一个进程；我们的回来时也是这么多


async def keep_asking(client: Redis) -> None:
    """对照：断了歇一歇再来，歇多久人人一样。"""
    while True:
        try:
            await tell(client, "BLPOP", "nothing", 1)
        except RedisError:
            await asyncio.sleep(FIXED)


@dataclass(frozen=True, slots=True)
class Stage:
    """代理后面的 Redis，没有持久化：回来是空的。"""

    process: Server
    proxy: Proxy
    url: str
    direct: str

    async def restarted(self, whole: Callable[[], Awaitable[bool]]) -> Return:
        """杀了，过一阵再起，等到 ``whole``。"""
        accepted, started = self.proxy.accepted, asyncio.get_running_loop().time() + AWAY
        accepted.clear()
        async with ticking() as ticks:
            await self.process.restart(signal.SIGKILL, AWAY)
            await eventually(whole)
        back = [moment for moment in accepted if moment >= started]
        return Return(crowd(accepted, ticks, 1.0), len(back), crowd(back, ticks, STEP))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        server, process = await stack.enter_async_context(own_valkey(stack.enter_context(own_directory())))
        proxy = Proxy(server.port)
        await proxy.start()
        stack.push_async_callback(proxy.stop)
        yield Stage(process, proxy, through(server.url, server.port, proxy.port), server.url)


async def test_a_fleet_that_meets_a_restarted_redis_does_not_come_back_in_step(
    environ: dict[str, str], pool: Pool, stage: Stage
) -> None:
    async with AsyncExitStack() as stack:
        settings = load_settings({**environ, "KAGUAN_REDIS__URL": stage.url, "KAGUAN_SCHEDULES": "[]"})
        watch = await stack.enter_async_context(Redis.from_url(stage.direct))
        pipeline = await stack.enter_async_context(open_pipeline(settings, pool))
        await pipeline.sql(EFFECT_TABLE)

        async def whole() -> bool:
            return await is_whole(watch) and await all_closed(pipeline)

        await open_fleet(stack, settings, pool)
        await pipeline.submit(TASKS)
        await eventually(whole)
        await pipeline.submit(TASKS)
        seen = await stage.restarted(whole)
        assert seen.back >= FLEET
        assert not seen.stormed
        assert await effects(pipeline) == (2 * TASKS, 2 * TASKS)


async def test_a_fleet_that_waits_for_a_fixed_time_is_condemned(stage: Stage) -> None:
    async with AsyncExitStack() as stack:
        for number in range(CONNECTIONS * FLEET):
            client = Redis.from_url(stage.url, single_connection_client=True, retry=Retry(NoBackoff(), 0))
            await stack.enter_async_context(client)
            await stack.enter_async_context(alongside(keep_asking(client), f"fixed-{number}"))

        async def whole() -> bool:
            return stage.proxy.links == CONNECTIONS * FLEET

        await eventually(whole)
        assert (await stage.restarted(whole)).stormed
