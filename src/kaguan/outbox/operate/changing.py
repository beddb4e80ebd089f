"""人改一个还没开始的任务：急不急、何时到期。交出了的换新的投递号，队列里的那一份从此不作数。"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb

from kaguan.database.pool import AfterCommit, Connection, at_once
from kaguan.database.sql import load
from kaguan.outbox.errors import TaskNotFoundError, TaskStatusError
from kaguan.outbox.operate.decisions import refuse_outside_transaction
from kaguan.outbox.recover import gate
from kaguan.outbox.vocabulary import NOTE_LENGTH, Priority, TaskStatus
from kaguan.words.log import get_logger
from kaguan.words.reasons import Reason

PACKAGE = "kaguan.outbox.operate"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Changing:
    """What to change of a task that has not started: for :func:`change`.

    Attributes:
        reason: 1 to 500 characters; it stands in the task's timeline.
        priority: its queue; ``None``: as it is.
        due: not before this moment, with a time zone, one that is past means now; ``None``: as it is.

    Raises:
        ValueError: a blank reason, a moment without a time zone, or nothing to change.
    """

    reason: str
    priority: Priority | None = None
    due: datetime | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.reason.strip()) <= NOTE_LENGTH:
            raise ValueError(f"reason: 1 to {NOTE_LENGTH} characters / 1 到 {NOTE_LENGTH} 个字符")
        if self.due is not None and self.due.tzinfo is None:
            raise ValueError("due: wants a time zone / 要带时区")
        if self.priority is None and self.due is None:
            raise ValueError("priority, due: give one / 优先级、到期的时刻至少给一个")


async def change(
    connection: Connection, task_id: UUID, actor: str, wanted: Changing, after_commit: AfterCommit = at_once
) -> TaskStatus:
    """Change the priority, the due time, or both, of a task that waits, for a person.

    What was handed over already is handed over anew, and the old delivery starts nothing. On an ordering key it keeps
    its place.

    Args:
        connection: in a transaction, which you commit.
        task_id: as :meth:`Task.accept` answered it.
        actor: who asked; it stands in the task's timeline.
        wanted: what, and why.
        after_commit: as of :func:`cancel`.

    Returns:
        ``PENDING`` or ``RETRYING``.

    Raises:
        TaskNotFoundError: there is none of this id.
        TaskStatusError: it runs, has ended, or is uncertain.
        GateClosedError, RuntimeError: as of :func:`cancel`.
    """
    refuse_outside_transaction(connection)
    await gate.ensure_open(connection)
    await connection.execute(load(PACKAGE, "lock_decided"), {"task_id": task_id})
    await connection.execute(load(PACKAGE, "lock_key"), {"task_id": task_id})
    detail = {"priority": wanted.priority, "due": wanted.due and wanted.due.isoformat(), "note": wanted.reason.strip()}
    parameters = {
        "task_id": task_id,
        "actor": actor,
        "priority": wanted.priority,
        "due": wanted.due,
        "detail": Jsonb({name: value for name, value in detail.items() if value is not None}),
    }
    found = await (await connection.execute(load(PACKAGE, "change"), parameters)).fetchone()
    if found is None:
        raise TaskNotFoundError
    before, after = found
    if after is None:
        raise TaskStatusError(Reason("outbox.not_waiting", {"status": before}))
    after_commit(lambda: log.info("改了等着的任务", task_id=str(task_id), actor=actor, before=before))
    return TaskStatus(after)
