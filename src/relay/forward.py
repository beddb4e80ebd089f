"""转交：发件箱 → SAQ。先入队、后标记：中间死了只会重复（认领会挡住），绝不会丢。"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError, ResponseError

from kaguan.outbox import store
from kaguan.queues import saq
from kaguan.queues.keys import delivery_key
from kaguan.tasks.model import Priority, PriorityRank
from kaguan.telemetry.metrics import observe
from kaguan.telemetry.spans import send_span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from saq.job import Job

    from kaguan.config.model import Relay
    from kaguan.database.pool import Connection, Pool
    from kaguan.outbox.store import Due
    from kaguan.queues.saq import KaguanQueue
    from kaguan.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

DEFER_SECONDS = 6.0  # SAQ 的 abort 键活 5 秒（LESSONS SAQ B）
SAQ_TIMEOUT_MARGIN = 60  # 秒：SAQ 的时限只作兜底，须长于我们自己的


@dataclass(frozen=True, slots=True)
class Forwarder:
    """一次 ``run_once`` 转交一批。``task_timeout`` 单位秒。"""

    pool: Pool
    queues: Mapping[Priority, KaguanQueue]
    config: Relay
    task_timeout: float
    metrics: Metrics

    async def run_once(self) -> int:
        """转交一批；返回交出的个数。

        Raises:
            RedisError: Redis 不在或拒收；事务回滚，什么也没标记。
        """
        rooms = await self._rooms()
        if not rooms:
            return 0
        async with self.pool.connection() as connection, connection.transaction():
            due = await store.fetch(connection, rooms)
            return await self._forward(connection, due) if due else 0

    async def _rooms(self) -> dict[PriorityRank, int]:
        """每个队列还放得下几个；满了的不在其中（I5：积压留在 PostgreSQL）。"""
        depths = await saq.depths(self.queues)
        rooms = {queue.rank: min(self.config.batch_size, self.config.high_water - n) for queue, n in depths.items()}
        return {rank: room for rank, room in rooms.items() if room > 0}

    async def _forward(self, connection: Connection, due: Sequence[Due]) -> int:
        counts = Counter(str(PriorityRank(row.priority).queue) for row in due)
        with send_span([row.traceparent for row in due], counts):
            jobs = [(PriorityRank(row.priority).queue, self._job(row)) for row in due]
            results = await saq.enqueue_many(self.queues, jobs)
            handed, unproven = await self._sort(connection, due, results)
            if unproven:
                proofs = await saq.known(
                    self.queues,
                    [(PriorityRank(row.priority).queue, delivery_key(row.task_id, row.delivery)) for row in unproven],
                )
                handed += [row for row, proof in zip(unproven, proofs, strict=True) if proof]
                blocked = [row for row, proof in zip(unproven, proofs, strict=True) if not proof]
                if blocked:
                    await store.defer(connection, blocked, DEFER_SECONDS)
            if handed:
                await store.mark_handed_over(connection, handed)
        for row in handed:
            labels = {"type": row.type, "queue": str(PriorityRank(row.priority).queue)}
            self.metrics.relayed.labels(**labels).inc()
            observe(self.metrics.commit_to_relay.labels(**labels), row.waited, row.traceparent)
        self.metrics.relay_batch.observe(len(handed))
        log.info("交给队列", count=len(handed), **counts)
        return len(handed)

    async def _sort(
        self, connection: Connection, due: Sequence[Due], results: Sequence[object]
    ) -> tuple[list[Due], list[Due]]:
        """分成已入队的与没有证明的；单行的毒丸就地搁置。

        Raises:
            RedisError: Redis 整体拒收（内存满、只读……），与单行无关。
        """
        handed: list[Due] = []
        unproven: list[Due] = []
        for row, result in zip(due, results, strict=True):
            match result:
                case None:
                    unproven.append(row)
                case ResponseError() | RedisError():
                    raise result
                case Exception():
                    log.error("毒丸：无法入队，搁置", task_id=str(row.task_id), error=type(result).__name__)
                    await store.park(connection, row, f"无法入队：{type(result).__name__}")
                    self.metrics.parked.labels(type=row.type).inc()
                case _:
                    handed.append(row)
        return handed, unproven

    def _job(self, row: Due) -> Job:
        timeout = int(self.task_timeout) + SAQ_TIMEOUT_MARGIN
        return saq.delivery_job(row.type, row.task_id, row.delivery, row.traceparent, timeout)
