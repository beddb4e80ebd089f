"""步速：每种任务一次尝试要多久（指数滑动平均），worker 定时写进 Redis，relay 据此决定一次投递装几个。丢了无妨。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from redis.asyncio import Redis
from redis.exceptions import RedisError

from kaguan.flow.background import happens, in_background
from kaguan.flow.backoff import about
from kaguan.queues.keys import pace_key
from kaguan.words.log import get_logger

log = get_logger(__name__)

INTERVAL = 1.0  # 秒
TTL = 3_600  # 秒：没有 worker 更新就不再可信；闲上一阵的，头一批仍知道装几个


async def publish(redis: Redis, seconds: Mapping[str, float]) -> None:
    """一条流水线写下各类型的步速（秒）。

    Raises:
        RedisError: 连不上。
    """
    async with redis.pipeline(transaction=False) as pipe:
        for task_type, value in seconds.items():
            pipe.set(pace_key(redis, task_type), f"{value:.6f}", ex=TTL)
        await pipe.execute()


@dataclass(slots=True)
class Pace:
    """把本进程量到的步速写出去；几个 worker 各写各的，后写的算数：它们做的是同样的活。"""

    redis: Redis | None  # None 即不写
    seconds: Mapping[str, float]  # 量的人随时在改
    measured: asyncio.Event  # 头一次量到一种：马上写，不知道步速的都单独走
    _written: dict[str, float] = field(default_factory=dict)

    async def run_once(self) -> int:
        """写下上次以来变了的；返回写了几种。Redis 不在就算了：它只是参考。"""
        fresh = {name: value for name, value in self.seconds.items() if self._written.get(name) != value}
        self._written.update(fresh)
        if fresh and self.redis is not None:
            try:
                await publish(self.redis, fresh)
            except RedisError as error:
                log.debug("步速没有写成", error=type(error).__name__)
        return len(fresh)

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """进入即定时写，离开即停。"""
        async with in_background(self._run(), "pace"):
            yield

    async def _run(self) -> None:
        while True:
            self.measured.clear()
            await self.run_once()
            await happens(self.measured, about(INTERVAL))
