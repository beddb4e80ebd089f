"""后台采样：事件循环的迟滞、连接池。一个进程一个，没有跨度，不在大表上计数。"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import structlog

from kaguan.telemetry.pools import database_figures, redis_figures
from kaguan.telemetry.setup import spans_dropped

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

    from kaguan.database.pool import Pool
    from kaguan.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

TICK = 1.0  # 秒；采样周期
PROBES = 4  # 每个周期里探几次迟滞


@dataclass(slots=True)
class Monitor:
    """一个进程的采样器。

    Attributes:
        dropped: 至今丢了几个跨度。
        pool_interval: 多久把连接池写进日志一次，秒。
    """

    metrics: Metrics
    pool: Pool
    redis: Redis | None
    pool_interval: float
    dropped: Callable[[], int] = spans_dropped
    _pools_logged_at: float = float("-inf")
    _spans_dropped: int = 0  # 已计入指标的

    async def run(self, stop: asyncio.Event) -> None:
        """采样到 ``stop``。"""
        while not stop.is_set():
            self.metrics.loop_lag.set(await worst_lag(stop))
            self.run_once()

    def run_once(self) -> int:
        """采一次；返回这次写了几次日志。"""
        now = asyncio.get_running_loop().time()
        self._publish_pools()
        self._count_dropped_spans()
        done = 0
        if now - self._pools_logged_at >= self.pool_interval:
            self._pools_logged_at = now
            self._log_pools()
            done += 1
        return done

    def _publish_pools(self) -> None:
        database_figures(self.pool).publish(self.metrics.database_pool)
        if self.redis is not None:
            redis_figures(self.redis).publish(self.metrics.redis_pool)

    def _count_dropped_spans(self) -> None:
        dropped = self.dropped()
        self.metrics.spans_dropped.inc(dropped - self._spans_dropped)
        self._spans_dropped = dropped

    def _log_pools(self) -> None:
        redis = {} if self.redis is None else asdict(redis_figures(self.redis))
        log.info("连接池", database=asdict(database_figures(self.pool)), redis=redis)


async def worst_lag(stop: asyncio.Event) -> float:
    """一个 :data:`TICK` 之内，定时器最多晚到多久（秒）；``stop`` 一来就提前返回。"""
    loop = asyncio.get_running_loop()
    step, worst = TICK / PROBES, 0.0
    for _ in range(PROBES):
        due = loop.time() + step
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), step)
            break
        worst = max(worst, loop.time() - due)
    return worst
