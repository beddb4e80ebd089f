"""积压的采样：由 relay 做，别的进程不必各查一遍；不在大表上计数。"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kaguan.database.pool import PASSING_ERRORS
from kaguan.database.sql import load
from kaguan.outbox import ordering, store
from kaguan.outbox.vocabulary import PriorityRank, TaskStatus

if TYPE_CHECKING:
    from prometheus_client import Gauge

    from kaguan.database.pool import Connection, Pool
    from kaguan.telemetry.metrics import Metrics

INTERVAL = 5.0  # 秒
CAP = 100_000  # 积压数到这里为止：再多也只是「很多」，年龄才是告警的依据


@dataclass(frozen=True, slots=True)
class Waiting:
    """在等外面恢复的任务：等谁，几个与最久的秒数写进哪两个量表。"""

    waiting_for: str
    count: Gauge
    oldest: Gauge


async def watch_backlog(pool: Pool, metrics: Metrics, stop: asyncio.Event, waiting: Waiting | None = None) -> None:
    """每 :data:`INTERVAL` 秒采一次，直到 ``stop``。"""
    while not stop.is_set():
        # 数据库不在时由主循环去说；这里只是少一个样本
        with suppress(*PASSING_ERRORS):
            async with pool.connection() as connection:
                await publish_backlog(connection, metrics, waiting)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), INTERVAL)


async def publish_backlog(connection: Connection, metrics: Metrics, waiting: Waiting | None = None) -> None:
    """积压、最老的到期行、在等外面恢复的、搁置的行、未结算的任务，写进量表。每个计数都封顶于 :data:`CAP`。"""
    for line in await store.backlog(connection, CAP):
        queue = PriorityRank(line.priority).queue
        metrics.backlog.labels(queue).set(line.waiting)
        metrics.oldest_pending.labels(queue).set(line.oldest_due_seconds or 0.0)
    if waiting is not None:
        found = await store.waiting(connection, waiting.waiting_for, CAP)
        waiting.count.set(found.waiting)
        waiting.oldest.set(found.oldest or 0.0)
    metrics.outbox_parked_rows.set(await store.parked(connection, CAP))
    cursor = await connection.execute(load(store.PACKAGE, "unsettled"), {"cap": CAP})
    if (row := await cursor.fetchone()) is not None:
        metrics.unsettled.labels(TaskStatus.QUEUED).set(row[0])
        metrics.unsettled.labels(TaskStatus.RUNNING).set(row[1])
    metrics.unsettled.labels("ordered").set(await ordering.waiting(connection, CAP))
