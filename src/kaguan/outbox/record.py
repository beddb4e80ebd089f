"""任务的 SQL：只取数、写数，不做判断。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from kaguan.database.sql import load
from kaguan.words.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from kaguan.database.pool import Connection

PACKAGE = "kaguan.outbox"
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


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """某个 request_id 的首个任务。"""

    principal: str
    request_id: str
    id: UUID
    status: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Candidate:
    """重放的条件选中的一个任务；``delivery`` 说的是哪一次失败。"""

    id: UUID
    delivery: int
    type: str
    last_error: dict[str, Any] | None
    finished_at: datetime | None


async def first_answers(connection: Connection, asked: Sequence[tuple[str, str]]) -> dict[tuple[str, str], FirstAnswer]:
    """``asked`` 是（提交者，request_id）。"""
    pairs = {"principals": [one[0] for one in asked], "request_ids": [one[1] for one in asked]}
    async with connection.cursor(row_factory=class_row(FirstAnswer)) as cursor:
        await cursor.execute(load(PACKAGE, "first_answer"), pairs)
        return {(row.principal, row.request_id): row for row in await cursor.fetchall()}


async def find(connection: Connection, task_id: UUID) -> TaskRecord | None:
    async with connection.cursor(row_factory=class_row(TaskRecord)) as cursor:
        await cursor.execute(load(PACKAGE, "find"), {"task_id": task_id})
        return await cursor.fetchone()


async def events(connection: Connection, task_id: UUID) -> list[EventRecord]:
    async with connection.cursor(row_factory=class_row(EventRecord)) as cursor:
        await cursor.execute(load(PACKAGE, "events"), {"task_id": task_id, "limit": EVENT_LIMIT})
        return await cursor.fetchall()


async def cancel(connection: Connection, task_id: UUID, actor: str) -> tuple[str, str] | None:
    """取消；返回之前与之后的状态，没有此任务则为 None。"""
    unknown = Jsonb(Reason("outbox.cancelled_earlier_unknown").stored())
    cursor = await connection.execute(load(PACKAGE, "cancel"), {"task_id": task_id, "actor": actor, "unknown": unknown})
    row = await cursor.fetchone()
    return None if row is None else (row[0], row[1])


async def lock_decided(connection: Connection, task_id: UUID) -> tuple[str, int] | None:
    """锁住人要决定的一个；返回状态与投递号，没有此任务则为 None。"""
    cursor = await connection.execute(load(PACKAGE, "lock_decided"), {"task_id": task_id})
    row = await cursor.fetchone()
    return None if row is None else (row[0], row[1])


async def replay(connection: Connection, parameters: dict[str, Any]) -> tuple[list[UUID], datetime | None]:
    """重放选定的；返回真的重放了哪些，与最后一个的到期时间。"""
    # 不用预备语句：规划器要看得见选定了几个
    cursor = await connection.execute(load(PACKAGE, "replay"), parameters, prepare=False)
    row = await cursor.fetchone()
    return ([], None) if row is None else (row[0], row[1])


async def replay_candidates(connection: Connection, parameters: dict[str, Any]) -> list[Candidate]:
    """条件会选中谁，只看不动。"""
    async with connection.cursor(row_factory=class_row(Candidate)) as cursor:
        # 不用预备语句：部分索引要看得见 status 的值
        await cursor.execute(load(PACKAGE, "replay_preview"), parameters, prepare=False)
        return await cursor.fetchall()
