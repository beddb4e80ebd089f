"""看一个任务的人要的一切；常见的（没有例外、没有键、不在等）只要一条语句。"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from kaguan.database.connecting import Connection
from kaguan.database.sql import load
from kaguan.outbox.operate import record
from kaguan.outbox.operate.pauses import Pause, paused_by
from kaguan.outbox.operate.place import Place, place_of
from kaguan.outbox.operate.record import PACKAGE, EventRecord, TaskRecord
from kaguan.outbox.operate.summary import Summary, asked, read
from kaguan.outbox.task_type import TaskType
from kaguan.outbox.vocabulary import TaskStatus

UNSTARTED = frozenset({TaskStatus.PENDING, TaskStatus.QUEUED, TaskStatus.RETRYING})


@dataclass(frozen=True, slots=True)
class TaskDetail:
    """``place`` 是在它的键上排第几；``paused`` 是停着它、让它不开始的暂停。"""

    task: TaskRecord
    events: list[EventRecord]
    summary: Summary | None
    place: Place | None
    paused: Pause | None


async def detail(connection: Connection, task_id: UUID, types: Iterable[TaskType[Any]]) -> TaskDetail | None:
    declared = {one.name: one for one in types if one.summary}
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(load(PACKAGE, "detail"), {"task_id": task_id, **asked(declared)})
        row = await cursor.fetchone()
    if row is None:
        return None
    noted, told = row.pop("noted"), row.pop("told")
    task = TaskRecord(**row)
    return TaskDetail(
        task,
        await record.events(connection, task_id) if noted else [],
        read(declared[task.type], told) if told else None,
        await place_of(connection, task),
        await paused_by(connection, task_id) if task.status in UNSTARTED else None,
    )
