"""积压的采样：由 relay 做，别的进程不必各查一遍；不在大表上计数。"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.rows import class_row

from kaguan.database.pool import Connection, Pool
from kaguan.database.sql import load
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.vocabulary import PriorityRank, TaskStatus
from kaguan.outbox.work import waiting

PACKAGE = "kaguan.outbox.operate"

CAP = 100_000  # 积压数到这里为止：再多也只是「很多」，年龄才是告警的依据


@dataclass(frozen=True, slots=True)
class BacklogGauges:
    """积压、最老的到期行、搁置的行、未结算的任务、在等名额的，写进量表。每个计数都封顶于 :data:`CAP`。"""

    pool: Pool
    metrics: Metrics
    types: TaskTypes

    async def run_once(self) -> int:
        """采一次；返回 0：看了一眼，没有什么要转交去做。"""
        metrics = self.metrics
        async with self.pool.connection() as connection:
            for line in await backlog(connection, CAP):
                queue = PriorityRank(line.priority).queue
                metrics.backlog.labels(queue).set(line.waiting)
                metrics.oldest_pending.labels(queue).set(line.oldest_due_seconds or 0.0)
            cursor = await connection.execute(load(PACKAGE, "unsettled"), {"cap": CAP})
            for queued, running, ordered, parked_rows in await cursor.fetchall():
                metrics.unsettled.labels(TaskStatus.QUEUED).set(queued)
                metrics.unsettled.labels(TaskStatus.RUNNING).set(running)
                metrics.unsettled.labels("ordered").set(ordered)
                metrics.outbox_parked_rows.set(parked_rows)
            named = [place for one in self.types.values() for place in one.places]
            for place, waits in (await waiting.places(connection, named, CAP)).items():
                metrics.places_waiting.labels(place).set(waits.waiting)
                metrics.places_oldest.labels(place).set(waits.oldest or 0.0)
        return 0


@dataclass(frozen=True, slots=True)
class QueueBacklog:
    """一个队列的待交付概况；``waiting`` 到 cap 为止。"""

    priority: int
    waiting: int
    oldest_due_seconds: float | None


async def backlog(connection: Connection, cap: int) -> list[QueueBacklog]:
    async with connection.cursor(row_factory=class_row(QueueBacklog)) as cursor:
        await cursor.execute(load(PACKAGE, "status"), {"up_to": cap})
        return await cursor.fetchall()


async def parked(connection: Connection, cap: int) -> int:
    cursor = await connection.execute(load(PACKAGE, "parked"), {"cap": cap})
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])
