"""`kaguan task replay` 要重放哪些。"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kaguan.outbox.vocabulary import Priority, TaskStatus

MOST = 100_000  # 一次至多重放几个；分批做


@dataclass(frozen=True, slots=True)
class Asked:
    """命令行上给的条件；时刻不带偏移。"""

    status: TaskStatus
    type: str | None
    queue: Priority | None
    error: str | None
    reason: str | None
    since: datetime | None
    until: datetime | None
    limit: int
    rate: float
    run: bool
    dry_run: bool
