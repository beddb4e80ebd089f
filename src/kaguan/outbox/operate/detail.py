"""看一个任务的人要的一切；常见的（没有例外、没有键、不在等）只要一条语句，同时来看的合用。"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from opentelemetry.trace import SpanContext
from psycopg.rows import dict_row

from kaguan.database.group_commit import GroupCommit
from kaguan.database.pool import Connection, Pool
from kaguan.database.sql import load
from kaguan.outbox.operate import record
from kaguan.outbox.operate.pauses import Pause, paused_by
from kaguan.outbox.operate.place import Place, place_of
from kaguan.outbox.operate.record import PACKAGE, EventRecord, TaskRecord
from kaguan.outbox.operate.summary import Summary, asked, read
from kaguan.outbox.spans import batch_span
from kaguan.outbox.task_type import TaskType
from kaguan.outbox.vocabulary import TaskStatus
from kaguan.telemetry.propagation import current_context

PATIENCE = 0.02  # 秒；一批问得比这还久，备用道才接手：载荷大的一个，不叫别的都等
UNSTARTED = frozenset({TaskStatus.PENDING, TaskStatus.QUEUED, TaskStatus.RETRYING})


@dataclass(frozen=True, slots=True)
class TaskDetail:
    """``place`` 是在它的键上排第几；``paused`` 是停着它、让它不开始的暂停。"""

    task: TaskRecord
    events: list[EventRecord]
    summary: Summary | None
    place: Place | None
    paused: Pause | None


@dataclass(frozen=True, slots=True)
class Asked:
    """要看哪一个；``context`` 是来看的人的跨度。"""

    task_id: UUID
    context: SpanContext


@dataclass(frozen=True, slots=True)
class Found:
    """一条语句里就有的；``noted`` 即另有例外。"""

    task: TaskRecord
    noted: bool
    summary: Summary | None


async def detail(connection: Connection, task_id: UUID, types: Iterable[TaskType[Any]]) -> TaskDetail | None:
    found = (await _find(connection, [task_id], _declared(types))).get(task_id)
    return None if found is None else await _completed(connection, found)


class GatheredDetail:
    """同时来看的合成一条语句，一个进程一个：一条语句的来回，比它查的那几行贵得多。"""

    def __init__(self, pool: Pool, types: Iterable[TaskType[Any]]) -> None:
        self._pool = pool
        self._declared = _declared(types)
        self._group: GroupCommit[Asked, Found | None] = GroupCommit(
            pool, self._read, PATIENCE, around=lambda batch: batch_span("SELECT", [asked.context for asked in batch])
        )

    async def detail(self, task_id: UUID) -> TaskDetail | None:
        """看一个。

        Raises:
            psycopg.Error: 数据库出错。
            TimeoutError: 久等不到。
        """
        found = await self._group.submit(Asked(task_id, current_context()))
        if found is None:
            return None
        if not _wants_more(found):
            return TaskDetail(found.task, [], found.summary, None, None)
        async with self._pool.connection() as connection:
            return await _completed(connection, found)

    async def _read(self, connection: Connection, batch: Sequence[Asked]) -> list[Found | None]:
        task_ids = [asked.task_id for asked in batch]
        found = await _find(connection, task_ids, self._declared)
        return [found.get(task_id) for task_id in task_ids]


def _declared(types: Iterable[TaskType[Any]]) -> dict[str, TaskType[Any]]:
    return {one.name: one for one in types if one.summary}


async def _find(
    connection: Connection, task_ids: Sequence[UUID], declared: Mapping[str, TaskType[Any]]
) -> dict[UUID, Found]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(load(PACKAGE, "detail"), {"task_ids": list(set(task_ids)), **asked(declared)})
        rows = await cursor.fetchall()
    return {row["id"]: _found(row, declared) for row in rows}


def _found(row: dict[str, Any], declared: Mapping[str, TaskType[Any]]) -> Found:
    noted, told = row.pop("noted"), row.pop("told")
    task = TaskRecord(**row)
    return Found(task, noted, read(declared[task.type], told) if told else None)


def _wants_more(found: Found) -> bool:
    """有例外、有键、还没开始：少见，另问。"""
    return found.noted or found.task.ordering_key is not None or found.task.status in UNSTARTED


async def _completed(connection: Connection, found: Found) -> TaskDetail:
    task = found.task
    return TaskDetail(
        task,
        await record.events(connection, task.id) if found.noted else [],
        found.summary,
        await place_of(connection, task),
        await paused_by(connection, task.id) if task.status in UNSTARTED else None,
    )
