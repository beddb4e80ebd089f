"""What was accepted; do all of it on the spot, without Redis or processes.

The way of production: the same claim, the same shell around the handler, the same settlement and retries; only relay
and queue are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from kaguan.config.model import Tasks
from kaguan.config.model import Worker as WorkerConfig
from kaguan.database.pool import Connection, Pool
from kaguan.database.sql import load
from kaguan.outbox.task_type import TaskType
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.outcome import Done, Outcome
from kaguan.outbox.worker import Worker

WORKER = "inline"
PAGE = 100
ROUNDS = 1_000  # 处理器若总在生出新任务，到此为止


@dataclass(frozen=True, slots=True)
class AcceptedTask:
    """A task that was accepted.

    Attributes:
        id: of the task.
        queue: ``critical``, ``default`` or ``low``.
        request_id: by which a repeated submission is known.
        principal: on whose behalf.
        status: ``pending`` until it is taken.
        payload: as JSON.
        key: its ordering key.
    """

    id: UUID
    queue: str
    request_id: str | None
    principal: str
    status: str
    payload: dict[str, Any]
    key: str | None


async def accepted(connection: Connection, task_type: TaskType[Any]) -> list[AcceptedTask]:
    """List the tasks of a type in the order of acceptance, those not yet committed in this transaction too."""
    async with connection.cursor(row_factory=class_row(AcceptedTask)) as cursor:
        await cursor.execute(load("kaguan.outbox.accept", "accepted"), {"type": task_type.name})
        return await cursor.fetchall()


async def assert_accepted(
    connection: Connection, task_type: TaskType[Any], *, count: int = 1, queue: str | None = None, **payload: object
) -> list[AcceptedTask]:
    """Assert that ``count`` tasks of a type were accepted whose payloads have these fields.

    The fixture ``accepted`` looks at one block of code alone.

    Args:
        connection: of psycopg; what its own transaction accepted is seen.
        task_type: ``Task.type`` of what :class:`kaguan.outbox.Outbox` declares.
        count: how many; 0 for none.
        queue: ``critical``, ``default`` or ``low``; not compared unless given.
        payload: fields that each payload has; others are not compared.

    Returns:
        The tasks that match.

    Raises:
        AssertionError: another number; it lists what was accepted.
    """
    found = await accepted(connection, task_type)
    matching = [
        task
        for task in found
        if (queue is None or task.queue == queue) and all(task.payload.get(name) == payload[name] for name in payload)
    ]
    if len(matching) != count:
        wanted = f"{task_type} {payload or ''} × {count}".replace("  ", " ")
        listed = "\n".join(f"  {task.queue} {task.payload}" for task in found) or "  （一个也没有）"
        raise AssertionError(f"应受理 {wanted}，实有 {len(matching)} 个相符。受理过的 {task_type}：\n{listed}")
    return matching


@dataclass(slots=True)
class Recorder:
    """A handler that calls nobody and records each attempt; it gives ``outcomes`` in their order, then ``Done``."""

    outcomes: list[Outcome] = field(default_factory=list)
    attempts: list[Attempt[Any]] = field(default_factory=list)

    async def __call__(self, attempt: Attempt[Any]) -> Outcome:
        attempt.call_nobody()
        self.attempts.append(attempt)
        return self.outcomes.pop(0) if self.outcomes else Done()


async def drain(
    pool: Pool,
    handlers: Mapping[TaskType[Any], Handler[Any]],
    tasks: Tasks | None = None,
    worker: WorkerConfig | None = None,
    *,
    skip_waits: bool = False,
) -> Counter[str]:
    """Do everything in the outbox on the spot, what comes of it on the way too.

    Args:
        pool: of psycopg connections in autocommit.
        handlers: one for each type that is met, such as ``Outbox.handlers``.
        tasks: retries.
        worker: time limits.
        skip_waits: neither back-off nor a moment to come is waited for: all counts as due.

    Returns:
        How many tasks ended in which status: ``{"succeeded": 2, "failed": 1}``.

    Raises:
        LookupError: a type was met that has no handler here.
        RuntimeError: it does not come to an end within a thousand rounds.
    """
    execution = Worker(pool, None, handlers, worker, tasks, name=WORKER).execution
    known = {one.name for one in handlers}
    touched: set[UUID] = set()
    for _ in range(ROUNDS):
        async with pool.connection() as connection, connection.transaction():
            parameters = {"skip_waits": skip_waits, "limit": PAGE}
            rows = await (await connection.execute(load("kaguan.outbox.deliver", "take_due"), parameters)).fetchall()
            unknown = sorted({row[2] for row in rows} - known)
            if unknown:
                raise LookupError(f"没有给处理器：{unknown}")
        if not rows:
            return await _statuses(pool, touched)
        for task_id, delivery, _type in rows:
            touched.add(task_id)
            await execution({}, deliveries=[(str(task_id), delivery)])
    raise RuntimeError(f"{ROUNDS} 轮之后发件箱还不空")


async def _statuses(pool: Pool, task_ids: set[UUID]) -> Counter[str]:
    async with pool.connection() as connection:
        cursor = await connection.execute(load("kaguan.outbox.operate", "watch"), {"task_ids": list(task_ids)})
        return Counter([row[2] for row in await cursor.fetchall()])
