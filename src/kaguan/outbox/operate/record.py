"""任务的 SQL：只取数、写数，不做判断。"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from kaguan.database.pool import Connection
from kaguan.database.sql import load

PACKAGE = "kaguan.outbox.operate"
EVENT_LIMIT = 500


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """tb_task 的一行，不含载荷。"""

    id: UUID
    type: str
    queue: str
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
        """在跑的、做成的那次尝试的 ``traceparent``：头一次投递就在受理的那条上，之后各有自己的一条。"""
        return self.attempt_traceparent or (self.traceparent if self.delivery == 1 else None)


@dataclass(frozen=True, slots=True)
class EventRecord:
    """tb_task_event 的一行。"""

    at: datetime
    kind: str
    attempt: int
    delivery: int
    worker: str | None
    actor: str | None
    detail: dict[str, Any]
    traceparent: str | None


async def find(connection: Connection, task_id: UUID) -> TaskRecord | None:
    async with connection.cursor(row_factory=class_row(TaskRecord)) as cursor:
        await cursor.execute(load(PACKAGE, "find"), {"task_id": task_id})
        return await cursor.fetchone()


async def events(connection: Connection, task_id: UUID) -> list[EventRecord]:
    async with connection.cursor(row_factory=class_row(EventRecord)) as cursor:
        await cursor.execute(load(PACKAGE, "events"), {"task_id": task_id, "limit": EVENT_LIMIT})
        return await cursor.fetchall()
