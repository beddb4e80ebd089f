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
from kaguan.outbox.doorbell import Doorbell
from kaguan.outbox.relay.relay import Relay
from kaguan.outbox.worker.worker import SPARE_CONNECTIONS, Worker
from kaguan.presence.beat import Presence
from kaguan.queues.client import open_redis, wait_for_redis
from kaguan.queues.keys import DOORBELL, PRESENCE_BEATS
from kaguan.task_types import TASK_TYPES
from tests.chaos.proxy import Proxy
from tests.support.alongside import alongside
from tests.support.eventually import eventually
from tests.support.fault_plant import EFFECT_TABLE, Effects, all_closed, effects, own_directory, own_valkey, through
from tests.support.pipeline import open_pipeline
from tests.support.sentinel import tell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from kaguan.config import Settings
    from kaguan.database.pool import Pool
    from tests.chaos.servers import Server

APIS, RELAYS, WORKERS = 6, 4, 10
FLEET = APIS + RELAYS + WORKERS
TASKS = 20
AWAY = 4.0  # 秒
RINGING = 0.1  # 秒；一个 API 隔多久按一次铃
FIXED = 1.0  # 秒
CONNECTIONS = 3  # 对照的一个进程；我们的回来时也是这么多
STEP = 0.2  # 秒；一个步子
# 一个进程：一秒里（刚断的那一秒最挤）、起来之后一共、一步里，至多来连几次
SECOND_EACH, BACK_EACH, STEP_EACH = 20, 10, 2


async def busy_ringing(bell: Doorbell) -> None:
    while True:
        bell.ring()
        await asyncio.sleep(RINGING)


async def open_root(stack: AsyncExitStack, role: str, settings: Settings, pool: Pool) -> None:
    """一个进程里碰 Redis 的零件，各有自己的连接池；PostgreSQL 的大家共用。"""
    size = settings.worker.concurrency + SPARE_CONNECTIONS if role == "worker" else None
    redis = await stack.enter_async_context(open_redis(settings.redis, size))
    await wait_for_redis(redis, settings.redis)
    await stack.enter_async_context(Presence(redis, role).beating())
    stop = asyncio.Event()
    if role == "api":
        bell = await stack.enter_async_context(Doorbell(redis, settings.relay.doorbell_interval).ringing())
        await stack.enter_async_context(alongside(busy_ringing(bell), role))
    elif role == "relay":
        relay = Relay(pool, redis, TASK_TYPES, settings.relay, settings.tasks, settings.worker)
        await stack.enter_async_context(alongside(relay.run(stop), role))
    else:
        worker = Worker(pool, redis, dict.fromkeys(TASK_TYPES, Effects()), settings.worker, settings.tasks)
        await stack.enter_async_context(alongside(worker.run(stop), role))


async def keep_asking(client: Redis) -> None:
    """对照：断了歇一歇再来，歇多久人人一样。"""
    while True:
        try:
            await tell(client, "BLPOP", "nothing", 1)
        except RedisError:
            await asyncio.sleep(FIXED)


@dataclass(frozen=True, slots=True)
class Return:
    """``second``：最挤的一秒里有几次来连；``back``：起来之后共几次；``step``：其中最挤的 :data:`STEP` 秒。"""

    second: int
    back: int
    step: int

    @property
    def stormed(self) -> bool:
        return self.second > SECOND_EACH * FLEET or self.back > BACK_EACH * FLEET or self.step > STEP_EACH * FLEET


@dataclass(frozen=True, slots=True)
class Stage:
    """代理后面的 Redis，没有持久化：回来是空的。"""

    process: Server
    proxy: Proxy
    url: str
    direct: str

    async def restarted(self, whole: Callable[[], Awaitable[bool]]) -> Return:
        """杀了，过一阵再起，等到 ``whole``。"""
        self.proxy.accepted.clear()
        started = asyncio.get_running_loop().time() + AWAY
        await self.process.restart(signal.SIGKILL, AWAY)
        await eventually(whole, timeout=60)
        back = sum(moment >= started for moment in self.proxy.accepted)
        return Return(self.proxy.busiest(seconds=1.0), back, self.proxy.busiest(seconds=STEP, latest=back))


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
            """人人跳过一拍，relay 都听着铃，任务都做完了。"""
            try:
                beats, heard = (
                    await tell(watch, "ZCARD", PRESENCE_BEATS),
                    await tell(watch, "PUBSUB", "NUMSUB", DOORBELL),
                )
            except RedisError:
                return False
            return (beats, heard[1]) == (FLEET, RELAYS) and await all_closed(pipeline)

        for role in ("api",) * APIS + ("relay",) * RELAYS + ("worker",) * WORKERS:
            await open_root(stack, role, settings, pool)
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
