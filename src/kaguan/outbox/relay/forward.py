"""转交：发件箱 → SAQ。先入队、后标记：中间死了只会重复（认领会挡住），绝不会丢。"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from kaguan.logging.naming import named
from kaguan.outbox import deliveries as saq
from kaguan.outbox import pace, store
from kaguan.outbox.upgrade import DEFER, Sightings
from kaguan.outbox.vocabulary import Priority, PriorityRank
from kaguan.queues.keys import delivery_key
from kaguan.telemetry.metrics import observe
from kaguan.telemetry.spans import send_span

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from saq.job import Job

    from kaguan.config.model import Relay
    from kaguan.database.pool import Connection, Pool
    from kaguan.outbox.deliveries import KaguanQueue
    from kaguan.outbox.store import Due
    from kaguan.outbox.task_type import TaskTypes
    from kaguan.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

DEFER_SECONDS = 6.0  # SAQ 的 abort 键活 5 秒（docs/GUARANTEES.md）
SPREAD = 20  # 一批至少摊成这么多次投递：一个 worker 的槽位数
SECONDS = 0.1  # 一次投递里的活合计不超过这么久：再多就有人在后面干等
SAQ_TIMEOUT_MARGIN = 60  # 秒：SAQ 的时限只作兜底，须长于我们自己的


@dataclass(frozen=True, slots=True)
class Parcel:
    """一次投递：同队列、同类型的一个或几个任务。"""

    queue: Priority
    key: str
    rows: tuple[Due, ...]

    @property
    def job(self) -> str | None:
        """要记在任务上的 SAQ 键；单个的由任务号与投递号算得出，不记。"""
        return self.key if len(self.rows) > 1 else None


@dataclass(frozen=True, slots=True)
class Forwarder:
    """一次 ``run_once`` 转交一批。``task_timeout`` 单位秒。"""

    pool: Pool
    queues: Mapping[Priority, KaguanQueue]
    config: Relay
    task_timeout: float
    metrics: Metrics
    types: TaskTypes
    unknown: Sightings = field(default_factory=Sightings)  # 不认得的（任务，投递号）

    async def run_once(self) -> int:
        """转交一批；返回交出的任务数。

        Raises:
            RedisError: Redis 不在或拒收；事务回滚，什么也没标记。
        """
        rooms = await self._rooms()
        if not rooms:
            return 0
        paces = await pace.read(next(iter(self.queues.values())).redis, self.types.shareable)
        async with self.pool.connection() as connection, connection.transaction():
            due = await store.fetch(connection, rooms)
            unknown = [row for row in due if row.type not in self.types]
            if unknown:
                await self._set_aside(connection, unknown)
                due = [row for row in due if row.type in self.types]
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
            parcels = pack(due, self.types.shareable, paces, self.config.ids_per_delivery)
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
        for row in unknown:
            log.error("不认得的任务类型，搁下", task_id=str(row.task_id), task_type=row.type)
            if self.unknown.outlasted(row.type, row.task_id, row.delivery):
                await store.park(connection, row, f"没有进程认得任务类型 {row.type}")
                self.metrics.parked.labels("unknown").inc()

    def facts(self) -> dict[str, dict[str, int]]:
        """进程名片上的：眼下搁着的、不认得的类型。"""
        return {"unknown": self.unknown.counts()}

    def _job(self, parcel: Parcel) -> Job:
        timeout = int(self.task_timeout) * len(parcel.rows) + SAQ_TIMEOUT_MARGIN
        tokens = [(row.task_id, row.delivery) for row in parcel.rows]
        return saq.delivery_job(parcel.rows[0].type, parcel.key, tokens, timeout)


def pack(due: Sequence[Due], shareable: Container[str], paces: Mapping[str, float], limit: int) -> list[Parcel]:
    """把到期的行装成投递；同队列、同类型的次序不变。

    Args:
        due: 到期的行，按优先级排好。
        shareable: 可以同乘的类型；长任务从不同乘。
        paces: 各类型一次尝试的平均秒数；不知道的当作快的，一秒后就知道了。
        limit: 一次投递至多几个；1 = 从不同乘。
    """
    parcels: list[Parcel] = []
    for (priority, task_type, alone), group in groupby(sorted(due, key=_kind), key=_kind):
        rows = list(group)
        quick = task_type in shareable and not alone
        size = _size(task_type, len(rows), paces, limit) if quick else 1
        queue = PriorityRank(priority).queue
        parcels += [_parcel(queue, rows[start : start + size]) for start in range(0, len(rows), size)]
    return parcels


def _kind(row: Due) -> tuple[int, str, bool]:
    return row.priority, row.type, row.alone


def _size(task_type: str, count: int, paces: Mapping[str, float], limit: int) -> int:
    quick = int(SECONDS / paces[task_type]) if paces.get(task_type) else limit
    return max(1, min(limit, quick, count // SPREAD))


def _parcel(queue: Priority, rows: Sequence[Due]) -> Parcel:
    key = delivery_key(rows[0].task_id, rows[0].delivery) if len(rows) == 1 else f"shared:{uuid4()}"
    return Parcel(queue, key, tuple(rows))
