"""有序的任务排在它的键上的哪里，等着谁，后面是谁。"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from kaguan.database.connecting import Connection
from kaguan.database.sql import load
from kaguan.outbox.operate.record import TaskRecord
from kaguan.outbox.vocabulary import TaskStatus

PACKAGE = "kaguan.outbox.operate"
PLACE_CAP = 1_000  # 前面有几个，数到这里为止
BEHIND_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Head:
    """一个键正放行的任务：在它有结局之前，同键的都等着。"""

    task_id: UUID
    type: str
    status: str
    attempts: int
    max_attempts: int
    available_at: datetime
    started_at: datetime | None
    error: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Place:
    """没结束的、失败了还拦着键的任务在它的键上。

    ``position`` 从 1 数起，1 是队头，数到 ``PLACE_CAP`` 为止；人工重来的不在队里，没有位置。
    ``blocked_by`` 是它等着的队头；``behind`` 是排在它后面的前几个，``more_behind`` 即不止这些。
    """

    position: int | None
    blocked_by: Head | None
    behind: list[UUID]
    more_behind: bool


async def place_of(connection: Connection, task: TaskRecord) -> Place | None:
    """任务在它的键上；没有键、已结束的没有，失败了还拦着键的有。"""
    if task.ordering_key is None or (task.finished_at is not None and task.status != TaskStatus.FAILED):
        return None
    async with connection.cursor(row_factory=dict_row) as cursor:
        parameters = {"task_id": task.id, "cap": PLACE_CAP, "shown": BEHIND_SHOWN + 1}
        await cursor.execute(load(PACKAGE, "place"), parameters)
        row = await cursor.fetchone()
    if row is None:
        return None
    behind, more = row["behind"][:BEHIND_SHOWN], len(row["behind"]) > BEHIND_SHOWN
    if row["leading"]:
        return Place(1, None, behind, more)
    if not row["waiting"]:
        return Place(None, None, [], more_behind=False)
    head = _head(row)
    return Place(min(PLACE_CAP, row["ahead"] + (1 if head is None else 2)), head, behind, more)


def _head(row: Mapping[str, Any]) -> Head | None:
    """队头已有结局就没有：正要放行下一个。"""
    if row["head_id"] is None:
        return None
    return Head(
        task_id=row["head_id"],
        type=row["head_type"],
        status=row["head_status"],
        attempts=row["head_attempts"],
        max_attempts=row["head_max_attempts"],
        available_at=row["head_available_at"],
        started_at=row["head_started_at"],
        error=row["head_error"],
    )
