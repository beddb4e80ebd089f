"""任务的 SQL：只取数、写数，不做判断。"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from kaguan.database.connecting import Connection
from kaguan.database.sql import load

PACKAGE = "kaguan.outbox.operate"
EVENT_LIMIT = 500


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task as it stands in PostgreSQL, without its payload.

    Attributes:
        id, type, queue, caller, request_id, ordering_key: as it was accepted; ``caller`` is who submitted it.
        status: of :class:`TaskStatus`.
        attempt, max_attempts: the attempt it is in, and how many it has.
        delivery: how often it was handed over; more than ``attempt`` where that cost no attempt.
        lost_leases: how many workers in a row fell silent over it; five in a row end it.
        worker, lease_until: who has it, and until when; of one that succeeded, how the name of its worker ended.
        progress, result: what ``attempt.report`` said last; what ``Done`` left.
        last_error: ``reason``, ``code`` and ``parameters`` of the last failed attempt.
        traceparent, attempt_traceparent: of W3C Trace Context: of its acceptance, of its last attempt.
        created_at, available_at, queued_at, started_at, finished_at, cancel_requested_at: by PostgreSQL's clock.
    """

    id: UUID
    type: str
    queue: str
    caller: str
    request_id: str | None
    status: str
    attempt: int
    max_attempts: int
    delivery: int
    lost_leases: int
    worker: str | None
    progress: dict[str, Any] | None
    result: dict[str, Any] | None
    last_error: dict[str, Any] | None
    traceparent: str | None
    created_at: datetime
    available_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    lease_until: datetime | None
    ordering_key: str | None
    attempt_traceparent: str | None = None  # 列表不取

    @property
    def last_attempt(self) -> str | None:
        """The ``traceparent`` of the attempt that is running or succeeded; of the first delivery, the acceptance's."""
        return self.attempt_traceparent or (self.traceparent if self.delivery == 1 else None)


@dataclass(frozen=True, slots=True)
class EventRecord:
    """tb_task_event 的一行；``queued_at``、``started_at`` 是它说的那次尝试何时入队（只有被收回的才有）、何时开始。"""

    at: datetime
    kind: str
    attempt: int
    delivery: int
    worker: str | None
    actor: str | None
    detail: dict[str, Any]
    traceparent: str | None
    started_at: datetime | None = None
    queued_at: datetime | None = None


async def find(connection: Connection, task_id: UUID) -> TaskRecord | None:
    """Find a task by its id; ``None``: there is none, or its retention is over.

    Example::

        async with shop.pool.connection() as connection:
            task = await find(connection, accepted.task_id)
    """
    async with connection.cursor(row_factory=class_row(TaskRecord)) as cursor:
        await cursor.execute(load(PACKAGE, "find"), {"task_id": task_id})
        return await cursor.fetchone()


async def payload_of(connection: Connection, task_id: UUID) -> tuple[str, dict[str, Any]] | None:
    """类型与载荷：里面也许有个人信息，谁为什么看，由调用者留痕。"""
    return await (await connection.execute(load(PACKAGE, "payload"), {"task_id": task_id})).fetchone()


async def events(connection: Connection, task_id: UUID) -> list[EventRecord]:
    async with connection.cursor(row_factory=class_row(EventRecord)) as cursor:
        await cursor.execute(load(PACKAGE, "events"), {"task_id": task_id, "limit": EVENT_LIMIT})
        return await cursor.fetchall()
