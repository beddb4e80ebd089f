"""后台采样：事件循环的迟滞、连接池、积压。一个进程一个，没有跨度，不在大表上计数。"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import structlog
from psycopg_pool import PoolTimeout

from kaguan.breakers import BreakerKind
from kaguan.database.pool import CONNECTION_ERRORS
from kaguan.database.sql import load
from kaguan.outbox import ordering
from kaguan.outbox import store as outbox
from kaguan.outbox.vocabulary import PriorityRank, TaskStatus
from kaguan.telemetry.pools import database_figures, redis_figures
from kaguan.telemetry.setup import spans_dropped

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

    from kaguan.database.pool import Connection, Pool
    from kaguan.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

TICK = 1.0  # 秒；采样周期
PROBES = 4  # 每个周期里探几次迟滞
BACKLOG_INTERVAL = 5.0  # 秒
BACKLOG_CAP = 100_000  # 积压数到这里为止：再多也只是「很多」，年龄才是告警的依据


@dataclass(slots=True)
class Monitor:
    """一个进程的采样器。

    Attributes:
        backlog: 是否采积压；由 relay 打开，别的进程不必各查一遍。
        dropped: 至今丢了几个跨度。
        pool_interval: 多久把连接池写进日志一次，秒。
    """

    metrics: Metrics
    pool: Pool
    redis: Redis | None
    pool_interval: float
    backlog: bool = False
    dropped: Callable[[], int] = spans_dropped
    _pools_logged_at: float = float("-inf")
    _backlog_sampled_at: float = float("-inf")
    _spans_dropped: int = 0  # 已计入指标的

    async def run(self, stop: asyncio.Event) -> None:
        """采样到 ``stop``。"""
        while not stop.is_set():
            self.metrics.loop_lag.set(await worst_lag(stop))
            await self.run_once()

    async def run_once(self) -> int:
        """采一次；返回这次另外做了几件到期的事（写日志、查积压）。"""
        now = asyncio.get_running_loop().time()
        self._publish_pools()
        self._count_dropped_spans()
        done = 0
        if now - self._pools_logged_at >= self.pool_interval:
            self._pools_logged_at = now
            self._log_pools()
            done += 1
        if self.backlog and now - self._backlog_sampled_at >= BACKLOG_INTERVAL:
            self._backlog_sampled_at = now
            done += await self._sample_backlog()
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

    async def _sample_backlog(self) -> int:
        # 数据库不在时由主循环去说；这里只是少一个样本
        with suppress(PoolTimeout, *CONNECTION_ERRORS):
            async with self.pool.connection() as connection:
                await publish_backlog(connection, self.metrics)
            return 1
        return 0


async def publish_backlog(connection: Connection, metrics: Metrics) -> None:
    """积压、最老的到期行、在等中继主机的信、搁置的行、未结算的任务，写进量表。每个计数都封顶于 :data:`BACKLOG_CAP`。"""
    for line in await outbox.backlog(connection, BACKLOG_CAP):
        queue = PriorityRank(line.priority).queue
        metrics.backlog.labels(queue).set(line.waiting)
        metrics.oldest_pending.labels(queue).set(line.oldest_due_seconds or 0.0)
    mails = await outbox.waiting(connection, BreakerKind.SMTP, BACKLOG_CAP)
    metrics.smtp_waiting.set(mails.waiting)
    metrics.smtp_oldest_wait.set(mails.oldest or 0.0)
    metrics.outbox_parked_rows.set(await outbox.parked(connection, BACKLOG_CAP))
    cursor = await connection.execute(load("kaguan.outbox", "unsettled"), {"cap": BACKLOG_CAP})
    if (row := await cursor.fetchone()) is not None:
        metrics.unsettled.labels(TaskStatus.QUEUED).set(row[0])
        metrics.unsettled.labels(TaskStatus.RUNNING).set(row[1])
    metrics.unsettled.labels("ordered").set(await ordering.waiting(connection, BACKLOG_CAP))


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
