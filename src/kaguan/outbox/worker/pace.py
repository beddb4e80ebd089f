"""步速：每种任务一次尝试要多久（指数滑动平均），定时写进 Redis，relay 据此决定一次投递装几个。"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

from kaguan.outbox import pace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

log = structlog.get_logger(__name__)

SMOOTHING = 0.1  # 新的一次占这么多
INTERVAL = 1.0  # 秒


@dataclass(slots=True)
class Pace:
    """本进程量到的步速；几个 worker 各写各的，后写的算数：它们做的是同样的活。"""

    redis: Redis
    _seconds: dict[str, float] = field(default_factory=dict)
    _fresh: set[str] = field(default_factory=set)

    def observe(self, task_type: str, seconds: float) -> None:
        before = self._seconds.get(task_type, seconds)
        self._seconds[task_type] = before + SMOOTHING * (seconds - before)
        self._fresh.add(task_type)

    async def run_once(self) -> int:
        """写下上次以来量过的；返回写了几种。Redis 不在就算了：它只是参考。"""
        fresh = {task_type: self._seconds[task_type] for task_type in self._fresh}
        self._fresh.clear()
        if fresh:
            try:
                await pace.publish(self.redis, fresh)
            except RedisError as error:
                log.debug("步速没有写成", error=type(error).__name__)
        return len(fresh)

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """进入即定时写，离开即停。"""
        task = asyncio.create_task(self._run(), name="pace")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self.run_once()
            await asyncio.sleep(INTERVAL)
