"""运行中另定的限额：一行数据，到时自己失效，回到配置里的；worker 隔几秒看一眼（docs/adr/0039）。"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row

from kaguan.database.pool import AfterCommit, Connection, at_once
from kaguan.database.sql import load
from kaguan.outbox.errors import LimitNotFoundError
from kaguan.outbox.operate.lasting import refuse_unclear, seconds_left
from kaguan.outbox.task_type import is_type_name
from kaguan.outbox.vocabulary import HIGHEST_AT_ONCE, HIGHEST_RATE, LimitScope
from kaguan.words.log import get_logger

PACKAGE = "kaguan.outbox.operate"

log = get_logger(__name__)

MOST = 100  # 道：worker 每次都看一遍


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that stands in for the configured one, until when, by whom and why.

    Attributes:
        scope, name: what is bounded.
        at_once: tasks of the type at once in one worker, or calls at once by all; ``None``: as configured.
        per_second: calls a second by all workers; ``None``: as configured.
        reason, actor: why, and who.
        created_at, until: by PostgreSQL's clock; then the configured one holds again.
    """

    scope: LimitScope
    name: str
    at_once: int | None
    per_second: int | None
    reason: str
    actor: str
    created_at: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Limiting:
    """What to bound: for :func:`limit`.

    Attributes:
        scope: see :class:`LimitScope`.
        name: of the type, or of somebody outside.
        reason: 1 to 500 characters.
        until: a moment with a time zone, or how long from now; up to 30 days.
        at_once: 1 to 100; wanted for a type.
        per_second: 1 to 10 000; for calls outside alone.

    Raises:
        ValueError: a name that cannot be one, a blank reason, a moment without a time zone, no or too long a time, no
            value or one out of its range.
    """

    scope: LimitScope
    name: str
    reason: str
    until: datetime | timedelta
    at_once: int | None = None
    per_second: int | None = None

    def __post_init__(self) -> None:
        refuse_unclear(self.name, self.reason, self.until)
        if self.scope is LimitScope.TYPE and not is_type_name(self.name):
            raise ValueError("name: a type is domain:action / 类型写作 领域:动作")
        if self.scope is LimitScope.TYPE and self.per_second is not None:
            raise ValueError("per_second: of calls outside alone / 每秒几次只管对外的调用")
        if self.at_once is None and self.per_second is None:
            raise ValueError("at_once, per_second: give one / at_once、per_second 至少给一个")
        for name, value, most in (
            ("at_once", self.at_once, HIGHEST_AT_ONCE),
            ("per_second", self.per_second, HIGHEST_RATE),
        ):
            if value is not None and not 1 <= value <= most:
                raise ValueError(f"{name}: 1 to {most}, for none pause it / 1 到 {most}，一个也不要就暂停它")


async def limit(
    connection: Connection, wanted: Limiting, actor: str, after_commit: AfterCommit = at_once
) -> Limit | None:
    """Bound a type, or the calls to somebody outside, for a while, for a person; a limit that is there gives way to it.

    Every worker looks within about two seconds; what runs goes on. A task for which there is no place waits in
    PostgreSQL, uncounted. At ``until`` the configured limit holds again by itself.

    Args:
        connection: in a transaction, or on its own.
        wanted: what, how much, until when and why.
        actor: who.
        after_commit: as of :func:`cancel`.

    Returns:
        The limit; ``None`` if there are a hundred others.
    """
    parameters = {
        "scope": wanted.scope,
        "name": wanted.name,
        "at_once": wanted.at_once,
        "per_second": wanted.per_second,
        "reason": wanted.reason.strip(),
        "actor": actor,
        "until": wanted.until if isinstance(wanted.until, datetime) else None,
        "seconds": seconds_left(wanted.until),
        "most": MOST,
    }
    async with connection.cursor(row_factory=class_row(Limit)) as cursor:
        await cursor.execute(load(PACKAGE, "limit"), parameters)
        made = await cursor.fetchone()
    if made is not None:
        said = {"scope": made.scope, "name": made.name, "until": made.until.isoformat()}
        values = {"at_once": made.at_once, "per_second": made.per_second}
        after_commit(lambda: log.info("另定限额", actor=actor, **said, **values))
    return made


async def lift(
    connection: Connection, scope: LimitScope, name: str, actor: str, after_commit: AfterCommit = at_once
) -> Limit:
    """End a limit before its time; the configured one holds again, in every worker within about two seconds.

    Args:
        connection: in a transaction, or on its own.
        scope: see :class:`LimitScope`.
        name: of what is bounded.
        actor: who.
        after_commit: as of :func:`cancel`.

    Raises:
        LimitNotFoundError: there is none, or it has ended.
    """
    async with connection.cursor(row_factory=class_row(Limit)) as cursor:
        await cursor.execute(load(PACKAGE, "lift"), {"scope": scope, "name": name})
        ended = await cursor.fetchone()
    if ended is None:
        raise LimitNotFoundError
    after_commit(lambda: log.info("限额照旧", scope=ended.scope, name=ended.name, actor=actor))
    return ended


async def limits(connection: Connection) -> list[Limit]:
    """List the limits that hold now, the oldest first."""
    async with connection.cursor(row_factory=class_row(Limit)) as cursor:
        await cursor.execute(load(PACKAGE, "limits"))
        return await cursor.fetchall()
