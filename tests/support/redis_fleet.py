"""一整队进程里碰 Redis 的零件，各有自己的连接池；断了怎样连回来算一拥而上。"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from kaguan.config import Settings
from kaguan.database.pool import Pool
from kaguan.outbox.accept.doorbell import Doorbell
from kaguan.outbox.relay import Relay
from kaguan.outbox.vocabulary import SPARE_CONNECTIONS
from kaguan.outbox.worker import Worker
from kaguan.presence.beat import Presence
from kaguan.product.task_types import TASK_TYPES
from kaguan.queues.client import open_redis, wait_for_redis
from kaguan.queues.keys import DOORBELL, PRESENCE_BEATS
from tests.chaos.proxy import Proxy
from tests.chaos.servers import Server
from tests.support.alongside import alongside
from tests.support.crowding import crowd, ticking
from tests.support.eventually import eventually
from tests.support.fault_plant import Effects, own_directory, own_valkey, through
from tests.support.played import played
from tests.support.sentinel import tell

APIS, RELAYS, WORKERS = 6, 4, 10
FLEET = APIS + RELAYS + WORKERS
RINGING = 0.1  # 秒；一个 API 隔多久按一次铃
STEP = 0.2  # 秒；一个步子
AWAY = 4.0  # 秒
# 一个进程：一秒里（刚断的那一秒最挤）、起来之后一共、一步里，至多来连几次
SECOND_EACH, BACK_EACH, STEP_EACH = 20, 10, 2


@dataclass(frozen=True, slots=True)
class Return:
    """``second``：最挤的一秒里有几次来连；``back``：起来之后共几次；``step``：其中最挤的 :data:`STEP` 秒。"""

    second: float
    back: int
    step: float

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
        accepted, back = self.proxy.accepted, self.proxy.reached  # 停与起各要多久，看机器：连得到的就是起来之后的
        accepted.clear()
        back.clear()
        async with ticking() as ticks:
            await self.process.restart(signal.SIGKILL, AWAY)
            await eventually(whole)
        return Return(crowd(accepted, ticks, 1.0), len(back), crowd(back, ticks, STEP))


@asynccontextmanager
async def open_stage() -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        server, process = await stack.enter_async_context(own_valkey(stack.enter_context(own_directory())))
        proxy = Proxy(server.port)
        await proxy.start()
        stack.push_async_callback(proxy.stop)
        yield Stage(process, proxy, through(server.url, server.port, proxy.port), server.url)


async def open_fleet(stack: AsyncExitStack, settings: Settings, pool: Pool) -> None:
    stop = asyncio.Event()  # 一声都停：一个个地停，各要等它的取件
    for role in ("api",) * APIS + ("relay",) * RELAYS + ("worker",) * WORKERS:
        await open_root(stack, role, settings, pool, stop)


async def is_whole(watch: Redis) -> bool:
    """人人跳过一拍，relay 都听着铃；连不上是没有。"""
    try:
        beats, heard = await tell(watch, "ZCARD", PRESENCE_BEATS), await tell(watch, "PUBSUB", "NUMSUB", DOORBELL)
    except RedisError:
        return False
    return (beats, heard[1]) == (FLEET, RELAYS)


async def busy_ringing(bell: Doorbell) -> None:
    while True:
        bell.ring()
        await asyncio.sleep(RINGING)


async def open_root(stack: AsyncExitStack, role: str, settings: Settings, pool: Pool, stop: asyncio.Event) -> None:
    """一个进程的；PostgreSQL 的池大家共用。"""
    size = settings.worker.concurrency + SPARE_CONNECTIONS if role == "worker" else None
    redis = await stack.enter_async_context(open_redis(settings.redis, size))
    await wait_for_redis(redis, settings.redis)
    await stack.enter_async_context(Presence(redis, role).beating())
    if role == "api":
        bell = await stack.enter_async_context(Doorbell(redis).ringing())
        await stack.enter_async_context(alongside(busy_ringing(bell), role))
    elif role == "relay":
        relay = Relay(pool, redis, TASK_TYPES, settings.relay, settings.tasks, settings.worker)
        await stack.enter_async_context(alongside(relay.run(stop), role, stop))
    else:
        handlers = {one: played(one, Effects()) for one in TASK_TYPES}
        worker = Worker(pool, redis, handlers, settings.worker, settings.tasks)
        await stack.enter_async_context(alongside(worker.run(stop), role, stop))
