"""转交：发件箱 → SAQ。先入队、后标记：中间死了只会重复（认领会挡住），绝不会丢。"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

import structlog
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from kaguan.database.sql import load
from kaguan.logging.naming import named
from kaguan.outbox import deliveries as saq
from kaguan.outbox.deliveries import Delivery
from kaguan.outbox.upgrade import DEFER, UnknownSince
from kaguan.outbox.vocabulary import Priority, PriorityRank
from kaguan.reasons import Reason
from kaguan.telemetry.metrics import observe
from kaguan.telemetry.spans import send_span

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from uuid import UUID

    from kaguan.config.model import Relay
    from kaguan.database.pool import Connection, Pool
    from kaguan.outbox.deliveries import KaguanQueue
    from kaguan.outbox.task_type import TaskTypes
    from kaguan.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

DEFER_SECONDS = 6.0  # SAQ 的 abort 键活 5 秒（docs/GUARANTEES.md）
SPREAD = 20  # 一批至少摊成这么多次投递：一个 worker 的槽位数
SECONDS = 0.1  # 一次投递里的活合计不超过这么久：再多就有人在后面干等
PACKAGE = "kaguan.outbox"


@dataclass(frozen=True, slots=True)
class Due:
    """一行到期的待交付。``waited`` 是到期以来的秒数。"""

    task_id: UUID
    delivery: int
    type: str
    priority: int
    traceparent: str | None
    waited: float
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Forwarder:
    """一次 ``run_once`` 转交一批。``task_timeout`` 单位秒。"""

    pool: Pool
    queues: Mapping[Priority, KaguanQueue]
    config: Relay
    task_timeout: float
    metrics: Metrics
    types: TaskTypes
    unknown: UnknownSince = field(default_factory=UnknownSince)  # 不认得的（任务，投递号）

    async def run_once(self) -> int:
        """转交一批；返回交出的任务数。

        Raises:
            RedisError: Redis 不在或拒收；事务回滚，什么也没标记。
        """
        depths, paces = await saq.load_of(self.queues, self.types.shareable)
        rooms = {queue.rank: min(self.config.batch_size, self.config.high_water - n) for queue, n in depths.items()}
        rooms = {rank: room for rank, room in rooms.items() if room > 0}  # I5：满了的，积压留在 PostgreSQL
        if not rooms:
            return 0
        async with self.pool.connection() as connection, connection.transaction():
            due = await fetch(connection, rooms)
            unknown = [row for row in due if row.type not in self.types]
            if unknown:
                await self._set_aside(connection, unknown)
                due = [row for row in due if row.type in self.types]
            handed = await self._forward(connection, due, paces) if due else []
        if due:
            self._count(handed)  # 回滚了的还会再交一遍，不计两次
        return len(handed)

    async def _forward(self, connection: Connection, due: Sequence[Due], paces: Mapping[str, float]) -> list[Due]:
        counts = Counter(str(PriorityRank(row.priority).queue) for row in due)
        with send_span([row.traceparent for row in due], counts):
            deliveries = pack(due, self.types.shareable, paces, self.config.ids_per_delivery)
            results = await saq.enqueue_many(self.queues, deliveries, self.task_timeout)
            handed, unproven = self._sort(deliveries, results)
            if unproven:
                proofs = await saq.known(self.queues, [(one.queue, one.key) for one in unproven])
                handed += [one for one, proof in zip(unproven, proofs, strict=True) if proof]
                blocked = [one for one, proof in zip(unproven, proofs, strict=True) if not proof]
                if blocked:
                    await defer(connection, [task_id for one in blocked for task_id, _ in one.tokens], DEFER_SECONDS)
            if handed:
                await mark_handed_over(connection, handed)
        carried = {token for one in handed for token in one.tokens}
        rows = [row for row in due if (row.task_id, row.delivery) in carried]
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
    def _sort(deliveries: Sequence[Delivery], results: Sequence[object]) -> tuple[list[Delivery], list[Delivery]]:
        """分成已入队的与没有证明的。

        Raises:
            RedisError: Redis 拒收（内存满、只读……）：与单个投递无关，它的参数只有号码。
        """
        handed: list[Delivery] = []
        unproven: list[Delivery] = []
        for one, result in zip(deliveries, results, strict=True):
            if isinstance(result, Exception):
                raise result
            (unproven if result is None else handed).append(one)
        return handed, unproven

    async def _set_aside(self, connection: Connection, unknown: Sequence[Due]) -> None:
        """本版本不认得的类型：滚动升级时留给新的 relay；本进程见了它太久还没人认得，就是毒丸。"""
        await defer(connection, [row.task_id for row in unknown], DEFER)
        for row in unknown:
            log.error("不认得的任务类型，搁下", task_id=str(row.task_id), task_type=row.type)
            if self.unknown.outlasted(row.type, row.task_id, row.delivery):
                await park(connection, row.task_id, Reason("outbox.unknown_type", {"type": row.type}))
                self.metrics.parked.labels("unknown").inc()

    def facts(self) -> dict[str, dict[str, int]]:
        """进程名片上的：眼下搁着的、不认得的类型。"""
        return {"unknown": self.unknown.counts()}


def pack(due: Sequence[Due], shareable: Container[str], paces: Mapping[str, float], limit: int) -> list[Delivery]:
    """把到期的行装成投递；同队列、同类型的次序不变。

    Args:
        due: 到期的行，按优先级排好。
        shareable: 可以同乘的类型；长任务从不同乘。
        paces: 各类型一次尝试的平均秒数；不知道的当作快的，一秒后就知道了。
        limit: 一次投递至多几个；1 = 从不同乘。
    """
    deliveries: list[Delivery] = []
    for (priority, task_type, alone), group in groupby(sorted(due, key=_kind), key=_kind):
        tokens = [(row.task_id, row.delivery) for row in group]
        quick = task_type in shareable and not alone
        size = _size(task_type, len(tokens), paces, limit) if quick else 1
        queue = PriorityRank(priority).queue
        shares = [tokens[start : start + size] for start in range(0, len(tokens), size)]
        deliveries += [Delivery(queue, task_type, share) for share in shares]
    return deliveries


def _kind(row: Due) -> tuple[int, str, bool]:
    return row.priority, row.type, row.alone


def _size(task_type: str, count: int, paces: Mapping[str, float], limit: int) -> int:
    quick = int(SECONDS / paces[task_type]) if paces.get(task_type) else limit
    return max(1, min(limit, quick, count // SPREAD))


async def fetch(connection: Connection, rooms: Mapping[PriorityRank, int]) -> list[Due]:
    """锁住并取出到期的行；``rooms`` 是每个队列还放得下几个。须在事务里。"""
    parameters = {"priorities": [int(rank) for rank in rooms], "rooms": list(rooms.values())}
    async with connection.cursor(row_factory=class_row(Due)) as cursor:
        await cursor.execute(load(PACKAGE, "fetch"), parameters)
        return await cursor.fetchall()


async def mark_handed_over(connection: Connection, handed: Sequence[Delivery]) -> None:
    """投递已在队列里：记下是哪些任务、哪一次，同乘的还有 SAQ 的键。"""
    rows = [(task_id, delivery, one.job) for one in handed for task_id, delivery in one.tokens]
    task_ids, deliveries, jobs = (list(column) for column in zip(*rows, strict=True))
    parameters = {"task_ids": task_ids, "deliveries": deliveries, "jobs": jobs}
    await connection.execute(load(PACKAGE, "handed_over"), parameters)


async def defer(connection: Connection, task_ids: Sequence[UUID], delay: float) -> None:
    """``delay`` 秒之后再交。"""
    await connection.execute(load(PACKAGE, "defer"), {"task_ids": list(task_ids), "delay": delay})


async def park(connection: Connection, task_id: UUID, reason: Reason) -> None:
    parameters = {"task_id": task_id, "reason": str(reason), "error": Jsonb(reason.stored())}
    await connection.execute(load(PACKAGE, "park"), parameters)
