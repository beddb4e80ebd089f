"""人对一个任务的决定：取消、重来。按条件重来一批见 :mod:`kaguan.outbox.operate.replay`。"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from psycopg.pq import TransactionStatus
from psycopg.rows import args_row
from psycopg.types.json import Jsonb

from kaguan.database.pool import AfterCommit, Connection, at_once
from kaguan.database.sql import load
from kaguan.outbox.errors import TaskNotFoundError, TaskStatusError
from kaguan.outbox.operate import replay
from kaguan.outbox.order import ordering
from kaguan.outbox.recover import gate
from kaguan.outbox.vocabulary import NOTE_LENGTH, RETRYABLE, Resolution, TaskStatus
from kaguan.words.log import get_logger
from kaguan.words.reasons import Reason

PACKAGE = "kaguan.outbox.operate"

log = get_logger(__name__)

CANCELLABLE = frozenset({TaskStatus.PENDING, TaskStatus.QUEUED, TaskStatus.RETRYING, TaskStatus.UNCERTAIN})


class Ended(NamedTuple):
    """``took``：取消了，或请求了正在执行的停下。"""

    id: UUID
    before: str
    after: str
    took: bool


def refuse_outside_transaction(connection: Connection) -> None:
    """自动提交的连接上没有开事务：锁随语句就没了，看与写之间会被人认领。

    Raises:
        RuntimeError: 就是这样。
    """
    if connection.autocommit and connection.info.transaction_status is TransactionStatus.IDLE:
        raise RuntimeError(
            "取消、重来要在事务里：async with connection.transaction()；"
            "cancel and retry need a transaction: async with connection.transaction()"
        )


async def cancel(connection: Connection, task_id: UUID, actor: str, after_commit: AfterCommit = at_once) -> TaskStatus:
    """Cancel a task, for a person.

    What waits is cancelled at once, and the next of its key is let go; so is what failed and holds its key
    (``KeyPolicy.HOLD``). What is running goes on until its handler calls ``attempt.checkpoint()`` or ends. A task whose
    outside call may have happened stays ``UNCERTAIN``.

    Args:
        connection: in a transaction, which you commit: ``async with shop.transaction() as tx: … tx.connection``.
        task_id: as :meth:`Task.accept` answered it.
        actor: who asked; it stands in the task's timeline.
        after_commit: takes what is to be done after the commit, a line of log: ``tx.after_commit``.

    Returns:
        The status it has now; a running one is still ``RUNNING``.

    Raises:
        TaskNotFoundError: there is none of this id.
        TaskStatusError: it has ended.
        GateClosedError: PostgreSQL has just lost a tail, and what was done is being told apart; come again.
        RuntimeError: the connection is not in a transaction.
    """
    refuse_outside_transaction(connection)
    await gate.ensure_open(connection)
    await _lock_decided(connection, task_id)
    found = await _cancel(connection, task_id, actor)
    if found is None:
        raise TaskNotFoundError
    before, after = map(TaskStatus, found)
    if before is after and before is not TaskStatus.RUNNING:
        raise TaskStatusError(Reason("outbox.ended", {"status": before.value}))
    after_commit(lambda: log.info("取消任务", task_id=str(task_id), actor=actor, before=before, after=after))
    if after is not TaskStatus.RUNNING:
        await ordering.release(connection, [task_id])
    return after


async def retry(connection: Connection, task_id: UUID, actor: str, after_commit: AfterCommit = at_once) -> TaskStatus:
    """Let a task that failed, or is uncertain, be done once more, for a person; its attempts are counted from one.

    Args:
        connection: in a transaction, which you commit.
        task_id: as :meth:`Task.accept` answered it.
        actor: who asked; it stands in the task's timeline.
        after_commit: as of :func:`cancel`.

    Returns:
        ``PENDING``.

    Raises:
        TaskNotFoundError: there is none of this id.
        TaskStatusError: it has neither failed nor is it uncertain.
        GateClosedError, RuntimeError: as of :func:`cancel`.
    """
    refuse_outside_transaction(connection)
    await gate.ensure_open(connection)
    found = await _lock_decided(connection, task_id)
    if found is None:
        raise TaskNotFoundError
    before, delivery = TaskStatus(found[0]), found[1]
    if before not in RETRYABLE or not await replay.one(connection, task_id, before, delivery, actor):
        raise TaskStatusError(Reason("outbox.not_retryable", {"status": before.value}))
    after_commit(lambda: log.info("人工重来任务", task_id=str(task_id), actor=actor, before=before))
    return TaskStatus.PENDING


async def resolve(
    connection: Connection,
    task_id: UUID,
    actor: str,
    outcome: Resolution,
    note: str,
    after_commit: AfterCommit = at_once,
) -> TaskStatus:
    """Say, for a person, what became of the outside call of an uncertain task.

    Args:
        connection: in a transaction, which you commit.
        task_id: as :meth:`Task.accept` answered it.
        actor: who found out; it stands in the task's timeline with ``outcome`` and ``note``.
        outcome: ``HAPPENED`` ends it as ``SUCCEEDED`` (an ``effect`` of its handler is not made up for), and the next
            of its key is let go; ``NOT_HAPPENED`` as ``FAILED``, and :func:`retry` does it once more without doubt.
        note: how it is known, 1 to 500 characters.
        after_commit: as of :func:`cancel`.

    Returns:
        ``SUCCEEDED`` or ``FAILED``.

    Raises:
        ValueError: the note is empty or too long.
        TaskNotFoundError: there is none of this id.
        TaskStatusError: it is not uncertain.
        GateClosedError, RuntimeError: as of :func:`cancel`.
    """
    if not 1 <= len(note.strip()) <= NOTE_LENGTH:
        raise ValueError(f"a note has 1 to {NOTE_LENGTH} characters / 说明要有 1 到 {NOTE_LENGTH} 个字符")
    refuse_outside_transaction(connection)
    await gate.ensure_open(connection)
    found = await _lock_decided(connection, task_id)
    if found is None:
        raise TaskNotFoundError
    if found[0] != TaskStatus.UNCERTAIN:
        raise TaskStatusError(Reason("outbox.not_uncertain", {"status": found[0]}))
    status = TaskStatus.SUCCEEDED if outcome is Resolution.HAPPENED else TaskStatus.FAILED
    told = {"error": Reason("outbox.not_happened").stored(), "detail": {"outcome": outcome, "note": note.strip()}}
    decided = {"task_id": task_id, "actor": actor, "status": status}
    await connection.execute(
        load(PACKAGE, "resolve"), {**decided, **{name: Jsonb(value) for name, value in told.items()}}
    )
    await ordering.release(connection, [task_id])
    after_commit(lambda: log.info("人定下了不明的结局", task_id=str(task_id), actor=actor, outcome=outcome))
    return status


async def _cancel(connection: Connection, task_id: UUID, actor: str) -> tuple[str, str] | None:
    """取消；返回之前与之后的状态，没有此任务则为 None。"""
    whom = {"task_ids": [task_id], "open": list(CANCELLABLE), "ask": True, "held_too": True}
    ended = await end(connection, whom, actor, {})
    return (ended[0].before, ended[0].after) if ended else None


async def end(connection: Connection, whom: Mapping[str, Any], actor: str, detail: Mapping[str, str]) -> list[Ended]:
    """取消已锁住的几个，见 ``cancel.sql``；``detail`` 记在时间线上。"""
    unknown = Jsonb(Reason("outbox.cancelled_earlier_unknown").stored())
    parameters = {**whom, "actor": actor, "unknown": unknown, "detail": Jsonb(detail)}
    async with connection.cursor(row_factory=args_row(Ended)) as cursor:
        await cursor.execute(load(PACKAGE, "cancel"), parameters)
        return await cursor.fetchall()


async def _lock_decided(connection: Connection, task_id: UUID) -> tuple[str, int] | None:
    """锁住人要决定的一个；返回状态与投递号，没有此任务则为 None。"""
    cursor = await connection.execute(load(PACKAGE, "lock_decided"), {"task_id": task_id})
    row = await cursor.fetchone()
    return None if row is None else (row[0], row[1])
