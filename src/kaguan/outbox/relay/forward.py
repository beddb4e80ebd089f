"""转交：发件箱 → SAQ。先入队、后标记：中间死了只会重复（认领会挡住），绝不会丢。"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from kaguan.logging.naming import named
from kaguan.outbox import deliveries as saq
from kaguan.outbox import pace, store
from kaguan.outbox.relay.aside import SetAside
from kaguan.outbox.relay.packing import SHAREABLE, pack
from kaguan.outbox.upgrade import DEFER, Sightings
from kaguan.outbox.vocabulary import Priority, PriorityRank, TaskType
from kaguan.telemetry.metrics import observe
from kaguan.telemetry.spans import send_span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from saq.job import Job

    from kaguan.config.model import Relay
    from kaguan.database.pool import Connection, Pool
    from kaguan.outbox.deliveries import KaguanQueue
    from kaguan.outbox.relay.packing import Parcel
    from kaguan.outbox.store import Due
    from kaguan.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

DEFER_SECONDS = 6.0  # SAQ 的 abort 键活 5 秒（LESSONS SAQ B）
TYPES = frozenset(str(task_type) for task_type in TaskType)
SAQ_TIMEOUT_MARGIN = 60  # 秒：SAQ 的时限只作兜底，须长于我们自己的


@dataclass(frozen=True, slots=True)
class Forwarder:
    """一次 ``run_once`` 转交一批。``task_timeout`` 单位秒。"""

    pool: Pool
    queues: Mapping[Priority, KaguanQueue]
    config: Relay
    task_timeout: float
    metrics: Metrics
    unknown: Sightings = field(default_factory=Sightings)  # 不认得的（任务，投递号）
    aside: SetAside = field(default_factory=SetAside)

    async def run_once(self) -> int:
        """转交一批；返回交出的任务数。

        Raises:
            RedisError: Redis 不在或拒收；事务回滚，什么也没标记。
        """
        rooms = await self._rooms()
        if not rooms:
            return 0
        paces = await pace.read(next(iter(self.queues.values())).redis, SHAREABLE)
        async with self.pool.connection() as connection, connection.transaction():
            due = await store.fetch(connection, rooms)
            unknown = [row for row in due if row.type not in TYPES]
            if unknown:
                await self._set_aside(connection, unknown)
                due = [row for row in due if row.type in TYPES]
            handed = await self._forward(connection, due, paces) if due else []
        if due:
            self._count(handed)  # 回滚了的还会再交一遍，不计两次
        return len(handed)

    async def _rooms(self) -> dict[PriorityRank, int]:
        """每个队列还放得下几个；满了的不在其中（I5：积压留在 PostgreSQL）。"""
        depths = await saq.depths(self.queues)
        rooms = {queue.rank: min(self.config.batch_size, self.config.high_water - n) for queue, n in depths.items()}
        return {rank: room for rank, room in rooms.items() if room > 0}

    async def _forward(self, connection: Connection, due: Sequence[Due], paces: Mapping[str, float]) -> list[Due]:
        counts = Counter(str(PriorityRank(row.priority).queue) for row in due)
        with send_span([row.traceparent for row in due], counts):
            parcels = pack(due, paces, self.config.ids_per_delivery)
            results = await saq.enqueue_many(self.queues, [(parcel.queue, self._job(parcel)) for parcel in parcels])
            handed, unproven = self._sort(parcels, results)
            if unproven:
                proofs = await saq.known(self.queues, [(parcel.queue, parcel.key) for parcel in unproven])
                handed += [parcel for parcel, proof in zip(unproven, proofs, strict=True) if proof]
                blocked = [parcel for parcel, proof in zip(unproven, proofs, strict=True) if not proof]
                if blocked:
                    await store.defer(connection, [row for parcel in blocked for row in parcel.rows], DEFER_SECONDS)
            handed_rows = [(row, parcel.job) for parcel in handed for row in parcel.rows]
            if handed_rows:
                await store.mark_handed_over(connection, handed_rows)
        rows = [row for row, _ in handed_rows]
        ids = named([row.task_id for row in rows], [row.traceparent for row in rows])
        # 提交之前说：投递已在队列里，提交一放开锁 worker 就开始执行，次序才不颠倒
        log.info("交给队列", count=len(rows), deliveries=len(handed), **counts, **ids)
        return rows

    def _count(self, rows: Sequence[Due]) -> None:
        for row in rows:
            labels = (row.type, str(PriorityRank(row.priority).queue))
            self.metrics.relayed.labels(*labels).inc()
            observe(self.metrics.commit_to_relay.labels(*labels), row.waited, row.traceparent)
        self.metrics.relay_batch.observe(len(rows))

    @staticmethod
    def _sort(parcels: Sequence[Parcel], results: Sequence[object]) -> tuple[list[Parcel], list[Parcel]]:
        """分成已入队的与没有证明的。

        Raises:
            RedisError: Redis 拒收（内存满、只读……）：与单个投递无关，它的参数只有号码。
        """
        handed: list[Parcel] = []
        unproven: list[Parcel] = []
        for parcel, result in zip(parcels, results, strict=True):
            if isinstance(result, Exception):
                raise result
            (unproven if result is None else handed).append(parcel)
        return handed, unproven

    async def _set_aside(self, connection: Connection, unknown: Sequence[Due]) -> None:
        """本版本不认得的类型：滚动升级时留给新的 relay；本进程见了它太久还没人认得，就是毒丸。"""
        await store.defer(connection, unknown, DEFER)
        self.aside.note((row.type, row.task_id) for row in unknown)
        for row in unknown:
            log.error("不认得的任务类型，搁下", task_id=str(row.task_id), task_type=row.type)
            if self.unknown.outlasted(row.task_id, row.delivery):
                await store.park(connection, row, f"没有进程认得任务类型 {row.type}")
                self.metrics.parked.labels("unknown").inc()

    def facts(self) -> dict[str, dict[str, int]]:
        """进程名片上的：眼下搁着的、不认得的类型。"""
        return {"unknown": self.aside.counts()}

    def _job(self, parcel: Parcel) -> Job:
        timeout = int(self.task_timeout) * len(parcel.rows) + SAQ_TIMEOUT_MARGIN
        first = parcel.rows[0]
        if len(parcel.rows) == 1:
            return saq.delivery_job(first.type, first.task_id, first.delivery, first.traceparent, timeout)
        return saq.shared_job(first.type, parcel.key, [(row.task_id, row.delivery) for row in parcel.rows], timeout)
