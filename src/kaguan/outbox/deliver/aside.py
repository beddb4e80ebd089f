"""搁下交不了的：证明不了已入队的过一会儿再交，不认得的类型等升级过的 relay，等不到的当毒丸停下。

滚动升级时两边都用它：relay 不认得的类型，worker 看不懂的载荷，都搁一会儿，留给升级过的进程。
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from psycopg.types.json import Jsonb

from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.outbox.deliver.deliveries import Due
from kaguan.outbox.metrics import Metrics
from kaguan.words.log import get_logger
from kaguan.words.reasons import Reason

log = get_logger(__name__)

PACKAGE = "kaguan.outbox.deliver"
DEFER = 30.0  # 秒
PATIENCE = 3_600.0  # 秒：一次滚动升级用不了这么久
SILENCE = 900.0  # 秒：这么久没再见到就算有人接过；几个旧进程轮着看见同一个，隔得没有这么久
REMEMBERED = 10_000  # 个；满了不记新的，它只是多等一阵
RECENT = DEFER * 1.5  # 秒：搁到期后该又见到它；没有再见到就是有人接了、取消了


@dataclass(frozen=True, slots=True)
class UnknownSince:
    """自本进程头一次看见算起，而不是自受理：定时的、重放的、排了很久的也等得到升级。

    Attributes:
        seen: (类型, 任务, 第几代) → 头一次与最近一次看见（单调钟）；最久没见的排在最前。
    """

    patience: float = PATIENCE
    remembered: int = REMEMBERED
    seen: dict[tuple[str, UUID, int], tuple[float, float]] = field(default_factory=dict)

    def outlasted(self, task_type: str, task_id: UUID, generation: int) -> bool:
        """又看见一次；True 是见了它 ``patience`` 秒，就此忘掉。"""
        now = time.monotonic()
        self._forget(now)
        first, _ = self.seen.pop((task_type, task_id, generation), (now, now))
        if now - first >= self.patience:
            return True
        if len(self.seen) < self.remembered:
            self.seen[task_type, task_id, generation] = (first, now)
        return False

    def counts(self) -> dict[str, int]:
        """眼下搁着的：类型 → 个数。"""
        since = time.monotonic() - RECENT
        return dict(Counter(task_type for (task_type, _, _), (_, last) in self.seen.items() if last > since))

    def _forget(self, now: float) -> None:
        while self.seen:
            oldest = next(iter(self.seen))
            if now - self.seen[oldest][1] < SILENCE:
                return
            del self.seen[oldest]


async def defer(connection: Connection, task_ids: Sequence[UUID], delay: float) -> None:
    """``delay`` 秒之后再交。"""
    await connection.execute(load(PACKAGE, "defer"), {"task_ids": list(task_ids), "delay": delay})


async def set_aside(connection: Connection, rows: Sequence[Due], since: UnknownSince, metrics: Metrics) -> None:
    """本版本不认得的类型：滚动升级时留给新的 relay；本进程见了它太久还没人认得，就是毒丸。"""
    await defer(connection, [row.task_id for row in rows], DEFER)
    for row in rows:
        log.error("不认得的任务类型，搁下", task_id=str(row.task_id), task_type=row.type)
        if since.outlasted(row.type, row.task_id, row.delivery):
            reason = Reason("outbox.unknown_type", {"type": row.type})
            parameters = {"task_id": row.task_id, "reason": str(reason), "error": Jsonb(reason.stored())}
            locked = await connection.execute(load(PACKAGE, "lock_waiting"), {"task_id": row.task_id})
            if await locked.fetchone() is None:  # 有人正认领它、取消它：已搁下，下次再说
                continue
            await connection.execute(load(PACKAGE, "park"), parameters)
            metrics.parked.labels("unknown").inc()
