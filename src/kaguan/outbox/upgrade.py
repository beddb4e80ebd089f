"""滚动升级：本版本看不懂的搁一会儿，留给升级过的进程；见了它太久仍没人接，才不再等。"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

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
