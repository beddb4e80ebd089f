"""装箱：积压而手快时，一次投递带上几个任务；活少时一个一个，谁也不等谁。"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING
from uuid import uuid4

from kaguan.outbox.vocabulary import PriorityRank, TaskType
from kaguan.queues.keys import delivery_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kaguan.outbox.store import Due
    from kaguan.outbox.vocabulary import Priority

SPREAD = 20  # 一批至少摊成这么多次投递：一个 worker 的槽位数
SECONDS = 0.1  # 一次投递里的活合计不超过这么久：再多就有人在后面干等
SHAREABLE = frozenset({TaskType.EMAIL_SEND})  # 短而多的；长任务从不同乘


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


def pack(due: Sequence[Due], paces: Mapping[str, float], limit: int) -> list[Parcel]:
    """把到期的行装成投递；同队列、同类型的次序不变。

    Args:
        due: 到期的行，按优先级排好。
        paces: 各类型一次尝试的平均秒数；不知道的当作快的，一秒后就知道了。
        limit: 一次投递至多几个；1 = 从不同乘。
    """
    parcels: list[Parcel] = []
    for (priority, task_type, alone), group in groupby(sorted(due, key=_kind), key=_kind):
        rows = list(group)
        size = 1 if alone else _size(task_type, len(rows), paces, limit)
        queue = PriorityRank(priority).queue
        parcels += [_parcel(queue, rows[start : start + size]) for start in range(0, len(rows), size)]
    return parcels


def _kind(row: Due) -> tuple[int, str, bool]:
    return row.priority, row.type, row.alone


def _size(task_type: str, count: int, paces: Mapping[str, float], limit: int) -> int:
    if task_type not in SHAREABLE:
        return 1
    quick = int(SECONDS / paces[task_type]) if paces.get(task_type) else limit
    return max(1, min(limit, quick, count // SPREAD))


def _parcel(queue: Priority, rows: Sequence[Due]) -> Parcel:
    key = delivery_key(rows[0].task_id, rows[0].delivery) if len(rows) == 1 else f"shared:{uuid4()}"
    return Parcel(queue, key, tuple(rows))
