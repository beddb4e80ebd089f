"""A transaction of yours, in the driver you have: a task accepted in it is committed with it, by whoever opened it.

All drivers call the one function ``outbox_accept`` of the schema. Which driver a connection is of is told by the
modules that are loaded already: none is imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString, Protocol, TypeAlias, TypedDict, cast
from uuid import UUID

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from kaguan.database.pool import AfterCommit, Connection
from kaguan.outbox.accept.acceptance import Accepted, Staged, answer, encode, retire_after
from kaguan.outbox.accept.contract import statement
from kaguan.outbox.accept.doorbell import BlockingBell
from kaguan.outbox.vocabulary import Priority
from kaguan.words.errors import DomainError

Rows: TypeAlias = Sequence[Sequence[Any]]
Tell: TypeAlias = Callable[[], None]

TOLD = "kaguan.outbox"  # in ``Session.info``: what waits for its commit
PSYCOPG: LiteralString = "%(tasks)s"


class How(TypedDict, total=False):
    """How a task is to be accepted.

    Attributes:
        request_id: submitted again by the same ``principal``, the first task is the answer (``replayed``).
        key: tasks of one key of one principal are done one after the other, in the order of acceptance.
        at: not before this moment, with a time zone.
        priority: critical, default and low share the slots 6 : 3 : 1 while they compete.
        principal: on whose behalf; within a queue principals take turns.
    """

    request_id: str | None
    key: str | None
    at: datetime | None
    priority: Priority
    principal: str


class Awaited(Protocol):
    """SQLAlchemy's ``AsyncSession`` or ``AsyncConnection``, asyncpg's ``Connection``, psycopg's ``AsyncConnection``."""

    def execute(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """What all of them have."""


class Executing(Protocol):
    """SQLAlchemy's ``Session`` or ``Connection``, psycopg's ``Connection``."""

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """What all of them have."""


class Cursored(Protocol):
    """Django's ``connection``."""

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """What it has."""


@dataclass(frozen=True, slots=True, eq=False)
class Home:
    """Where the tasks of one outbox go, and whom to wake."""

    schema: str
    max_attempts: int
    ring: Tell
    bell: BlockingBell

    def statement(self, tasks: LiteralString) -> LiteralString:
        """What a driver executes; ``tasks`` is its mark of a parameter."""
        return statement(self.schema, tasks)

    def encoded(self, staged: Staged) -> bytes:
        """The tasks."""
        return encode([staged], self.max_attempts)


@dataclass(slots=True)
class Lasting:
    """The one transaction that was joined: what still came after its end, nobody might commit.

    Attributes:
        now: of the driver: the transaction that the session is in, ``None`` in none, ``...`` if it cannot be told.
        joined: that transaction, ``None`` as long as it has not begun.
    """

    now: Callable[[], object]
    joined: object = None

    def __post_init__(self) -> None:
        self.look()

    def look(self) -> None:
        """See that it lasts.

        Raises:
            RuntimeError: it is over.
        """
        now = self.now()
        if now is ...:
            return
        if self.joined is not None and now is not self.joined:
            raise RuntimeError(
                "this transaction is over: transaction() or within(…) gives another"
                " / 这个事务已经结束：要另用 transaction() 或 within(…) 给的"
            )
        self.joined = now

    def close(self) -> None:
        """It is over, whatever its connection does next."""
        self.now = lambda: None


@dataclass(frozen=True, slots=True)
class _Yours:
    home: Home
    told: AfterCommit
    lasting: Lasting

    def after_commit(self, tell: Tell) -> None:
        """Have ``tell`` called after the commit, where the driver tells of it."""
        self.lasting.look()
        self.told(tell)


@dataclass(frozen=True, slots=True)
class Joined(_Yours):
    """A transaction of yours in a driver that is awaited; who opened it commits it.

    Attributes:
        home: the outbox.
        told: takes what is to be called after the commit.
        lasting: tells whether it is over.
        ask: calls its function in your transaction.
    """

    ask: Callable[[bytes], Awaitable[Rows]]

    async def accept(self, staged: Staged) -> Accepted:
        """Through :meth:`kaguan.outbox.Task.accept`, which says what it raises."""
        self.lasting.look()
        return _answered(staged, await self.ask(self.home.encoded(staged)), self.after_commit, self.home.ring)


@dataclass(frozen=True, slots=True)
class JoinedSync(_Yours):
    """A transaction of yours in a driver that blocks; who opened it commits it.

    Attributes:
        home: the outbox.
        told: takes what is to be called after the commit.
        lasting: tells whether it is over.
        ask: calls its function in your transaction.
    """

    ask: Callable[[bytes], Rows]

    def accept(self, staged: Staged) -> Accepted:
        """Through :meth:`kaguan.outbox.Task.accept`, which says what it raises."""
        self.lasting.look()
        return _answered(staged, self.ask(self.home.encoded(staged)), self.after_commit, self.home.bell.ring)


def _answered(staged: Staged, rows: Rows, after_commit: AfterCommit, ring: Tell) -> Accepted:
    found = [(place, UUID(str(task_id)), *rest) for place, task_id, *rest in rows]  # a driver may have it as text
    (outcome,) = answer([staged], found, after_commit)
    if isinstance(outcome, DomainError):
        raise outcome
    after_commit(ring)
    return outcome


@dataclass(frozen=True, slots=True)
class Transaction(Joined):
    """A transaction on a psycopg connection, of the outbox's pool or of yours.

    Attributes:
        home: the outbox.
        told: takes what is to be called after the commit.
        lasting: tells whether it is over.
        ask: calls its function in the transaction.
        on: its connection, also when it is over; :attr:`connection` is refused then.
    """

    on: Connection

    @property
    def connection(self) -> Connection:
        """psycopg's; :meth:`execute` is its."""
        self.lasting.look()
        return self.on

    async def execute(
        self, statement: LiteralString, parameters: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> psycopg.AsyncCursor[tuple[Any, ...]]:
        """Execute a statement of your own in it, as psycopg's ``AsyncConnection.execute`` does."""
        return await self.connection.execute(statement, parameters)


def on_psycopg(connection: Connection, home: Home, after_commit: AfterCommit | None = None) -> Transaction:
    """``after_commit`` is given where somebody tells of the commit."""

    async def ask(tasks: bytes) -> Rows:
        retire_after(connection, tasks)
        async with connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(home.statement(PSYCOPG), {"tasks": tasks.decode()})
            return await cursor.fetchall()

    return Transaction(home, after_commit or _when_committed(connection), _lasting(connection), ask, connection)


def join(session: object, home: Home) -> Joined | JoinedSync:
    """Join the transaction that ``session`` is in, or with its next statement will be.

    Raises:
        TypeError: of no driver that is known.
    """
    for module, names, joining in _DRIVERS:
        there = sys.modules.get(module)
        if there is not None and isinstance(session, tuple(getattr(there, name) for name in names)):
            return joining(session, home)
    raise TypeError(
        "within() joins psycopg's AsyncConnection or Connection, SQLAlchemy's AsyncSession, AsyncConnection, Session or"
        f" Connection, asyncpg's Connection, Django's connection; not {type(session).__name__}"
        " / within() 要上面这些之一"
    )


_IN_ONE: Mapping[TransactionStatus, bool | None] = {
    TransactionStatus.IDLE: None,
    TransactionStatus.INTRANS: True,
    TransactionStatus.INERROR: True,
}


def _lasting(connection: psycopg.AsyncConnection[Any] | psycopg.Connection[Any]) -> Lasting:
    """While another coroutine's statement runs on it, a connection cannot tell."""
    return Lasting(lambda: _IN_ONE.get(connection.info.transaction_status, ...))


def _when_committed(connection: psycopg.AsyncConnection[Any] | psycopg.Connection[Any]) -> AfterCommit:
    """A bare connection tells of no commit; outside of a transaction the statement was one."""

    def after_commit(tell: Tell) -> None:
        if connection.info.transaction_status is TransactionStatus.IDLE:
            tell()

    return after_commit


def _on_psycopg_sync(connection: psycopg.Connection[Any], home: Home) -> JoinedSync:
    def ask(tasks: bytes) -> Rows:
        with connection.cursor(row_factory=tuple_row) as cursor:
            return cursor.execute(home.statement(PSYCOPG), {"tasks": tasks.decode()}).fetchall()

    return JoinedSync(home, _when_committed(connection), _lasting(connection), ask)


def _on_sqlalchemy_async(session: Any, home: Home) -> Joined:
    text = sys.modules["sqlalchemy"].text(home.statement(":tasks"))

    async def ask(tasks: bytes) -> Rows:
        return cast("Rows", (await session.execute(text, {"tasks": tasks.decode()})).all())

    def now() -> object:
        found = session.sync_session if hasattr(session, "sync_session") else session.sync_connection
        return None if found is None else found.get_transaction()

    return Joined(home, _told_by(getattr(session, "sync_session", None)), Lasting(now), ask)


def _on_sqlalchemy(session: Any, home: Home) -> JoinedSync:
    text = sys.modules["sqlalchemy"].text(home.statement(":tasks"))

    def ask(tasks: bytes) -> Rows:
        return cast("Rows", session.execute(text, {"tasks": tasks.decode()}).all())

    told = _told_by(session if hasattr(session, "flush") else None)
    return JoinedSync(home, told, Lasting(session.get_transaction), ask)


def _on_asyncpg(connection: Any, home: Home) -> Joined:
    async def ask(tasks: bytes) -> Rows:
        return cast("Rows", await connection.fetch(home.statement("$1::text"), tasks.decode()))

    def after_commit(tell: Tell) -> None:
        if not connection.is_in_transaction():
            tell()

    return Joined(home, after_commit, Lasting(lambda: connection.is_in_transaction() or None), ask)


def _on_django(connection: Any, home: Home) -> JoinedSync:
    def ask(tasks: bytes) -> Rows:
        with connection.cursor() as cursor:
            cursor.execute(home.statement("%s"), [tasks.decode()])
            return cast("Rows", cursor.fetchall())

    return JoinedSync(home, connection.on_commit, Lasting(lambda: connection.in_atomic_block or None), ask)


def _on_django_proxy(proxy: Any, home: Home) -> JoinedSync:
    """``django.db.connection``: the one of this thread."""
    return _on_django(proxy._connections[proxy._alias], home)  # noqa: SLF001 it has no other way in


_DRIVERS: tuple[tuple[str, tuple[str, ...], Callable[[Any, Home], Joined | JoinedSync]], ...] = (
    ("psycopg", ("AsyncConnection",), on_psycopg),
    ("psycopg", ("Connection",), _on_psycopg_sync),
    ("sqlalchemy.ext.asyncio", ("AsyncSession", "AsyncConnection"), _on_sqlalchemy_async),
    ("sqlalchemy.orm", ("Session",), _on_sqlalchemy),
    ("sqlalchemy", ("Connection",), _on_sqlalchemy),
    ("asyncpg", ("Connection",), _on_asyncpg),
    ("django.db.backends.base.base", ("BaseDatabaseWrapper",), _on_django),
    ("django.utils.connection", ("ConnectionProxy",), _on_django_proxy),
)


def _told_by(session: Any) -> AfterCommit:
    """A session tells of its commits; SQLAlchemy's bare connection of none."""
    if session is None:
        return lambda _tell: None
    told: _Told | None = session.info.get(TOLD)
    if told is None:
        told = session.info[TOLD] = _Told(session)
    return told.after_commit


@dataclass(slots=True)
class _Told:
    """What waits for the commit of a session, each with the savepoint it came in: rolled back, it goes with it."""

    session: Any
    waiting: list[tuple[Any, Tell]] = field(default_factory=list)

    def __post_init__(self) -> None:
        listen = sys.modules["sqlalchemy"].event.listen
        listen(self.session, "after_commit", self.committed)
        listen(self.session, "after_soft_rollback", self.rolled_back)
        listen(self.session, "after_transaction_end", self.ended)

    def after_commit(self, tell: Tell) -> None:
        self.waiting.append((self.session.get_nested_transaction() or self.session.get_transaction(), tell))

    def committed(self, session: Any) -> None:
        if session.in_nested_transaction():  # a savepoint was released; the commit is still to come
            return
        waiting, self.waiting = self.waiting, []
        for _, tell in waiting:
            tell()

    def rolled_back(self, _session: Any, ended: Any) -> None:
        self.waiting = [one for one in self.waiting if not _within(one[0], ended)]

    def ended(self, _session: Any, ended: Any) -> None:
        if ended.parent is None:  # closed without a word
            self.waiting.clear()


def _within(transaction: Any, outer: Any) -> bool:
    while transaction is not None and transaction is not outer:
        transaction = transaction.parent
    return transaction is not None
