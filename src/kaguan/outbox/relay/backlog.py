"""积压的采样：由 relay 做，别的进程不必各查一遍；不在大表上计数。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kaguan.database.sql import load
from kaguan.outbox import ordering, store
from kaguan.outbox.vocabulary import PriorityRank, TaskStatus

if TYPE_CHECKING:
    from kaguan.database.pool import Pool
    from kaguan.outbox.task_type import TaskTypes
    from kaguan.telemetry.metrics import Metrics

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
            for line in await store.backlog(connection, CAP):
                queue = PriorityRank(line.priority).queue
                metrics.backlog.labels(queue).set(line.waiting)
                metrics.oldest_pending.labels(queue).set(line.oldest_due_seconds or 0.0)
            metrics.outbox_parked_rows.set(await store.parked(connection, CAP))
            cursor = await connection.execute(load(store.PACKAGE, "unsettled"), {"cap": CAP})
            if (row := await cursor.fetchone()) is not None:
                metrics.unsettled.labels(TaskStatus.QUEUED).set(row[0])
                metrics.unsettled.labels(TaskStatus.RUNNING).set(row[1])
            metrics.unsettled.labels("ordered").set(await ordering.waiting(connection, CAP))
            named = [place for one in self.types.values() for place in one.places]
            for place, waits in (await store.places(connection, named, CAP)).items():
                metrics.places_waiting.labels(place).set(waits.waiting)
                metrics.places_oldest.labels(place).set(waits.oldest or 0.0)
        return 0
