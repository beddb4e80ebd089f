"""搁下的：不认得的任务类型各有几个。搁一次说一阵子，没有再见到（有人接了、取消了）就不再说。"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kaguan.outbox.upgrade import DEFER

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

MEMORY = DEFER * 1.5  # 秒：搁到期后该又见到它
MOST = 10_000  # 个：再多也只是「很多」


@dataclass(slots=True)
class SetAside:
    """``_seen``：任务 → （类型，最近一次搁下的单调钟）；最久没见的排在最前。"""

    _seen: dict[UUID, tuple[str, float]] = field(default_factory=dict)

    def note(self, rows: Iterable[tuple[str, UUID]]) -> None:
        now = time.monotonic()
        for task_type, task_id in rows:
            self._seen.pop(task_id, None)
            if len(self._seen) < MOST:
                self._seen[task_id] = (task_type, now)

    def counts(self) -> dict[str, int]:
        """眼下搁着的：类型 → 个数。"""
        oldest = time.monotonic() - MEMORY
        while self._seen and next(iter(self._seen.values()))[1] < oldest:
            del self._seen[next(iter(self._seen))]
        return dict(Counter(task_type for task_type, _ in self._seen.values()))
