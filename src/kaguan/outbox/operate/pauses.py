"""暂停与恢复：一行数据，到时自己失效；停着的等得看得见，不耗尝试，也不拦着别的（docs/adr/0039）。"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.rows import class_row

from kaguan.database.pool import AfterCommit, Connection, at_once
from kaguan.database.sql import load
from kaguan.outbox.deliver import pausing
from kaguan.outbox.errors import PauseNotFoundError
from kaguan.outbox.operate.lasting import refuse_unclear, seconds_left
from kaguan.outbox.task_type import is_type_name
from kaguan.outbox.vocabulary import PauseScope, Priority
from kaguan.words.log import get_logger

PACKAGE = "kaguan.outbox.operate"

log = get_logger(__name__)

MOST = 100  # 处：认领每次都看一遍
CAP = 10_000  # 在等的数到这里为止


@dataclass(frozen=True, slots=True)
class Pause:
    """What is held back, until when, by whom and why.

    Attributes:
        id: what :func:`resume` wants.
        scope, name: what is held back: a type of this name, a queue, …
        reason, actor: why, and who.
        created_at, until: by PostgreSQL's clock; it ends by itself.
        waiting: how many tasks the relay has put aside for it so far, up to 10 000.
    """

    id: UUID
    scope: PauseScope
    name: str
    reason: str
    actor: str
    created_at: datetime
    until: datetime
    waiting: int


@dataclass(frozen=True, slots=True)
class Pausing:
    """What to hold back: for :func:`pause`.

    Attributes:
        scope: see :class:`PauseScope`.
        name: of the type, queue, caller (principal), key, or of whom ``resources`` names.
        reason: 1 to 500 characters.
        until: a moment with a time zone, or how long from now; up to 30 days.

    Raises:
        ValueError: a name that cannot be one, a blank reason, a moment without a time zone, no or too long a time.
    """

    scope: PauseScope
    name: str
    reason: str
    until: datetime | timedelta

    def __post_init__(self) -> None:
        refuse_unclear(self.name, self.reason, self.until)
        if self.scope is PauseScope.QUEUE and self.name not in set(Priority):
            raise ValueError("name: a queue is critical, default or low / 队列是 critical、default 或 low")
        if self.scope is PauseScope.TYPE and not is_type_name(self.name):
            raise ValueError("name: a type is domain:action / 类型写作 领域:动作")

    @property
    def seconds(self) -> float:
        """From now on."""
        return seconds_left(self.until)


async def pause(
    connection: Connection, wanted: Pausing, actor: str, after_commit: AfterCommit = at_once
) -> Pause | None:
    """Hold back the tasks of a type, queue, caller or key, or the turns at somebody outside, for a person.

    It holds from the commit on: nothing of it is started, what was handed over already included; what runs goes on. A
    task held back keeps its attempts and its place, and holds up no other. At ``until`` it ends by itself.

    Args:
        connection: in a transaction, or on its own.
        wanted: what, until when and why.
        actor: who.
        after_commit: as of :func:`cancel`.

    Returns:
        The pause; ``None`` if there are a hundred already.
    """
    parameters = {
        "scope": wanted.scope,
        "name": wanted.name,
        "reason": wanted.reason.strip(),
        "actor": actor,
        "until": wanted.until if isinstance(wanted.until, datetime) else None,
        "seconds": wanted.seconds,
        "most": MOST,
    }
    async with connection.cursor(row_factory=class_row(Pause)) as cursor:
        await cursor.execute(load(PACKAGE, "pause"), parameters)
        made = await cursor.fetchone()
    if made is not None:
        said = {"scope": made.scope, "name": made.name, "until": made.until.isoformat()}
        after_commit(lambda: log.info("暂停", actor=actor, **said))
    return made


async def resume(connection: Connection, pause_id: UUID, actor: str, after_commit: AfterCommit = at_once) -> Pause:
    """End a pause before its time; what waits for it is due at once, in the order in which it was put aside.

    Args:
        connection: in a transaction, which you commit.
        pause_id: of :class:`Pause`.
        actor: who.
        after_commit: as of :func:`cancel`.

    Raises:
        PauseNotFoundError: there is none of this id, or it has ended.
    """
    async with connection.cursor(row_factory=class_row(Pause)) as cursor:
        await cursor.execute(load(PACKAGE, "resume"), {"id": pause_id})
        ended = await cursor.fetchone()
    if ended is None:
        raise PauseNotFoundError
    await pausing.let_go(connection, pause_id)  # 余下的由 relay 一批批放
    after_commit(lambda: log.info("恢复", scope=ended.scope, name=ended.name, actor=actor))
    return ended


async def pauses(connection: Connection) -> list[Pause]:
    """List the pauses that hold now, the oldest first."""
    async with connection.cursor(row_factory=class_row(Pause)) as cursor:
        await cursor.execute(load(PACKAGE, "pauses"), {"cap": CAP})
        return await cursor.fetchall()


async def paused_by(connection: Connection, task_id: UUID) -> Pause | None:
    """没有开始的任务停在哪里；没有停着就是 ``None``。"""
    async with connection.cursor(row_factory=class_row(Pause)) as cursor:
        await cursor.execute(load(PACKAGE, "paused_by"), {"task_id": task_id})
        return await cursor.fetchone()
