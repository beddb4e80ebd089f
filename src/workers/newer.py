"""更新的版本写的载荷：交还，等升级过的进程来接；本进程见了它太久还没人接，就说清楚。"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workers.outcome import Continue, GiveUp, Outcome

if TYPE_CHECKING:
    from uuid import UUID

DEFER = 30.0  # 秒
PATIENCE = 3_600.0  # 秒：一次滚动升级用不了这么久
REMEMBERED = 10_000  # 个；再多就忘掉最早的，它只是多等一阵


@dataclass(frozen=True, slots=True)
class NewerPayloads:
    """自本进程头一次看见算起，而不是自受理：定时的、重放的、排了很久的也等得到升级。"""

    first_seen: dict[UUID, float] = field(default_factory=dict)  # 任务 → 何时（单调钟）

    def outcome(self, task_id: UUID, reason: str) -> Outcome:
        now = time.monotonic()
        if now - self.first_seen.setdefault(task_id, now) >= PATIENCE:
            del self.first_seen[task_id]
            return GiveUp(f"{reason}，等了一小时仍没有升级过的来接；升级 worker 之后重来")
        if len(self.first_seen) > REMEMBERED:
            del self.first_seen[next(iter(self.first_seen))]
        return Continue(f"{reason}，留给升级过的", delay=DEFER)
