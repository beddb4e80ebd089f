"""The outbox of an application, as one object: its types, its handlers, its connections, its relay and worker."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, closing
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, Unpack, overload

from kaguan.config.model import Database, Redis, Tasks
from kaguan.config.model import Relay as RelaySettings
from kaguan.config.model import Worker as WorkerSettings
from kaguan.config.schedules import Schedule, distinct
from kaguan.database.pool import Pool, open_connection, transaction
from kaguan.flow.background import beside
from kaguan.outbox.accept.acceptance import SYSTEM_PRINCIPAL, Accepted, Staged, Submission
from kaguan.outbox.accept.doorbell import BlockingBell
from kaguan.outbox.accept.joining import (
    Awaited,
    Cursored,
    Executing,
    Home,
    How,
    Joined,
    JoinedSync,
    Transaction,
    join,
    on_psycopg,
)
from kaguan.outbox.place import Opened, Place, Role, connected
from kaguan.outbox.schedule.declared import When, planned
from kaguan.outbox.schema import PRODUCT, install, installation
from kaguan.outbox.task_type import Effect, Model, Options, P, TaskType, TaskTypes, Unknown
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.outcome import Outcome
from kaguan.outbox.work.overrides import one_after_another
from kaguan.outbox.work.verification import Verified, Verify

if TYPE_CHECKING:  # who only accepts imports neither relay nor worker
    from kaguan.outbox.metrics import Metrics
    from kaguan.outbox.relay import Relay
    from kaguan.outbox.worker import Worker

Handled: TypeAlias = Callable[[Attempt[P]], Coroutine[Any, Any, Outcome]]

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


class Task(Generic[P]):
    """A type of task of one :class:`Outbox`: calling it as a function calls the handler."""

    def __init__(self, outbox: Outbox, type: TaskType[P]) -> None:  # noqa: A002 the word of the field
        self._outbox = outbox
        self.type = type

    async def __call__(self, attempt: Attempt[P]) -> Outcome:
        """Call the handler, as a unit test does; ``LookupError`` if none is declared in this process."""
        return await self._outbox.handler_of(self.type)(attempt)

    @overload
    def accept(self, transaction: Joined, payload: P, **how: Unpack[How]) -> Coroutine[Any, Any, Accepted]: ...
    @overload
    def accept(self, transaction: JoinedSync, payload: P, **how: Unpack[How]) -> Accepted: ...
    def accept(
        self, transaction: Joined | JoinedSync, payload: P, **how: Unpack[How]
    ) -> Coroutine[Any, Any, Accepted] | Accepted:
        """Accept one task in ``transaction``: with its commit it will be done, whatever dies.

        To be awaited, unless the transaction is one of a driver that blocks.

        Args:
            transaction: of :meth:`Outbox.transaction` or :meth:`Outbox.within`, of the outbox of this type.
            payload: what the handler reads; with a ``request_id`` it must not depend on the try.
            how: see :class:`How`.

        Raises:
            TypeError: the payload is not of this type, or the transaction is not one of the outbox.
            ValueError: ``at`` has no time zone, or a field of the payload cannot be written as JSON.
            RuntimeError: the transaction is over.
            RequestIdReusedError: ``request_id`` was used for another task.
        """
        if getattr(transaction, "home", None) is not self._outbox.home:
            raise TypeError(
                f"accept() wants a transaction of transaction() or within(…) of {self._outbox.name}, not"
                f" {_name(transaction)} / accept() 要 {self._outbox.name} 的 transaction() 或 within(…) 给的事务"
            )
        at = how.get("at")
        if at is not None and at.tzinfo is None:
            raise ValueError("at= wants a time zone / at= 要带时区")
        submission = Submission(
            self.type,
            payload,
            queue=how.get("priority", Priority.DEFAULT),
            principal=how.get("principal", SYSTEM_PRINCIPAL),
            request_id=how.get("request_id"),
            schedule_at=at,
            ordering_key=how.get("key"),
        )
        return transaction.accept(Staged.of(submission))


class Outbox:
    """The outbox of an application: declare types, accept tasks in your transactions, run relay and worker.

    Example::

        shop = Outbox("shop", database=DATABASE_URL, redis=REDIS_URL)

        @shop.task("receipt:write", Receipt, max_attempts=5)
        async def write_receipt(attempt: Attempt[Receipt]) -> Done: ...

        async with shop.running():
            async with shop.transaction() as tx:
                await tx.execute("insert into shop_order values (1)")
                await write_receipt.accept(tx, Receipt(order_id=1))

    Args:
        name: of the application, at most 32 of ``a-z0-9_``. Its tables stand in the schema of this name, its keys in
            Redis below it: applications share a database and a Redis without seeing each other.
        database: PostgreSQL's URL, or that and how many connections, how long they are waited for.
        redis: the URL of Redis or Valkey, or the same.
        tasks, relay, worker: attempts, back-off, retention; batches and polls; slots, lease, time limit of an attempt.

    Raises:
        ValueError: a name or a URL that cannot be one.
    """

    _taken: ClassVar[tuple[str, ...]] = (PRODUCT, "information_schema", "public")

    def __init__(
        self,
        name: str,
        *,
        database: str | Database,
        redis: str | Redis,
        tasks: Tasks | None = None,
        relay: RelaySettings | None = None,
        worker: WorkerSettings | None = None,
    ) -> None:
        if NAME.fullmatch(name) is None or name in self._taken or name.startswith("pg_"):
            raise ValueError(
                f"a name is up to 32 of a-z0-9_, none of {self._taken}, pg_…: {name!r} / 名字至多 32 个 a-z0-9_"
            )
        self.name, self.tasks = name, tasks or Tasks()
        schema = "" if name == PRODUCT else name
        server = connected(Database, database, "database").model_copy(update={"schema_name": schema})
        broker = connected(Redis, redis, "redis")
        self.database = server.url.get_secret_value()
        self._place = Place(name, server, broker, self.tasks, relay or RelaySettings(), worker or WorkerSettings())
        bell = BlockingBell(broker.url.get_secret_value(), server.namespace)
        self.home = Home(schema, self.tasks.max_attempts, self.ring, bell)
        self._types: dict[str, TaskType[Any]] = {}
        self._handlers: dict[TaskType[Any], Handler[Any]] = {}
        self._schedules: tuple[Schedule, ...] = ()
        self._opened: Opened | None = None

    def type(self, name: str, payload: Model[P], **options: Unpack[Options]) -> Task[P]:
        """Declare a type without a handler: its name (``domain:action``), its payload, and :class:`Options`.

        Raises:
            ValueError: a name twice or not of that form, ``unknown`` that does not fit ``effect``, a number below 1.
            RuntimeError: the outbox is open already.
        """
        declared: TaskType[P] = TaskType(name, payload, **({"effect": Effect.REPEATABLE} | options))
        self._still_closed("declare a type")
        TaskTypes((*self._types.values(), declared))
        self._types[name] = declared
        return Task(self, declared)

    def handles(
        self, task: Task[P], *, verify: Verify[P] | None = None, resend: bool = False
    ) -> Callable[[Handled[P]], Handled[P]]:
        """Declare the handler of a type that was declared apart from it.

        Args:
            task: of this outbox.
            verify: asks outside whether the call happened; wanted for ``Unknown.VERIFY`` alone.
            resend: if nobody can tell, call again rather than leave it to a person.

        Raises:
            TypeError: what is decorated is no coroutine function.
            ValueError: ``verify`` does not fit ``unknown``, the type has a handler or is another outbox's.
            RuntimeError: the outbox is open already.
        """

        def declare(handler: Handled[P]) -> Handled[P]:
            self._declare(task.type, handler, verify, resend=resend)
            return handler

        return declare

    def task(
        self,
        name: str,
        payload: Model[P],
        *,
        verify: Verify[P] | None = None,
        resend: bool = False,
        **options: Unpack[Options],
    ) -> Callable[[Handled[P]], Task[P]]:
        """Declare a type with its handler: :meth:`type` and :meth:`handles` in one."""

        def declare(handler: Handled[P]) -> Task[P]:
            declared = self.type(name, payload, **options)
            self._declare(declared.type, handler, verify, resend=resend)
            return declared

        return declare

    def schedule(self, name: str, cron: str, task: Task[P], payload: P, **when: Unpack[When]) -> None:
        """Have a relay accept a task again and again; each time once, however many relays there are.

        Example::

            shop.schedule("tidy", "30 2 * * *", tidy, Tidy(day="{today-1}"), timezone="Europe/Berlin")

        Args:
            name: up to 64 of ``a-z0-9_-``; what was done last is remembered under it, and it is the ordering key: one
                after the other.
            cron: minute, hour, day, month, weekday.
            task: of this outbox.
            payload: in its texts ``{today}`` and ``{today-3}`` become the day it is due, and three days before.
            when: see :class:`When`.

        Raises:
            ValueError: a name twice or not of that form, no such time or zone, another outbox's task.
            RuntimeError: the outbox is open already.
        """
        self._still_closed("declare a schedule")
        self._own(task.type)
        self._schedules = distinct((*self._schedules, planned(name, cron, task.type, payload, when)))

    @property
    def handlers(self) -> Mapping[TaskType[Any], Handler[Any]]:
        """Of this process; what :func:`kaguan.outbox.testing.drain` wants."""
        return self._handlers

    def handler_of(self, kind: TaskType[P]) -> Handler[P]:
        """The handler of a type; ``LookupError`` if none is declared in this process."""
        if kind not in self._handlers:
            raise LookupError(f"{kind} has no handler in this process / {kind} 在本进程没有处理器")
        return self._handlers[kind]

    def _declare(self, kind: TaskType[P], handler: Handled[P], verify: Verify[P] | None, *, resend: bool) -> None:
        self._still_closed("declare a handler")
        if not any(map(iscoroutinefunction, (handler, getattr(handler, "__call__", None)))):  # noqa: B004 an object with ``async def __call__`` is one too
            raise TypeError(f"{kind}: a handler is a coroutine function, not {_name(handler)} / 处理器要是协程函数")
        self._own(kind)
        if kind in self._handlers:
            raise ValueError(f"{kind} has a handler already / {kind} 已经有处理器了")
        if (verify is None) == (kind.unknown is Unknown.VERIFY):
            raise ValueError(f"{kind}: unknown=VERIFY alone wants verify= / unknown=VERIFY 的（且只有它）要给 verify=")
        self._handlers[kind] = handler if verify is None else Verified(handler, verify, resend=resend)

    @asynccontextmanager
    async def opened(self, *roles: Role, pool: Pool | None = None) -> AsyncIterator[Outbox]:
        """Open the connections, for a process that only accepts, or for the ``roles`` it is to have.

        Args:
            roles: ``"relay"``, ``"worker"``, whose :meth:`relay` and :meth:`worker` are then to be run.
            pool: one of yours (psycopg, autocommit), taken as it is, unchecked: see :mod:`kaguan.outbox.testing`.

        Raises:
            NotInstalledError: the tables are missing, older or newer than this version; it says what to run.
            RuntimeError: it is open already.
            ForeignKeysError: its keys in this Redis are another database's.
            DatabaseUnavailableError: PostgreSQL cannot be reached.
            QueueUnavailableError: Redis cannot be reached, which relay and worker wait for; accepting does not.
        """
        self._still_closed("open it")
        async with self._place.opened(roles or ("api",), self._types, pool) as opened:
            self._opened = opened
            try:
                yield self
            finally:
                self._opened = None
                self.home.bell.close()

    @asynccontextmanager
    async def running(self, *, relay: bool = True, worker: bool = True) -> AsyncIterator[Outbox]:
        """Open the connections and run relay and worker beside what is done inside; stop both in order on leaving.

        On leaving a worker takes nothing new, lets what runs finish and hands back the rest, uncounted; one that is
        drained does so too, and another takes its place here. Raises what :meth:`opened` and :meth:`worker` raise, and
        what a relay or worker that fails died of, which ends what is done inside.
        """
        stop, parts = asyncio.Event(), dict[Role, Callable[[], Coroutine[Any, Any, None]]]()
        if relay:
            parts["relay"] = lambda: self.relay().run(stop)
        if worker:
            self._all_handled()
            parts["worker"] = lambda: one_after_another(lambda own: self.worker().run(own), stop)
        async with self.opened(*parts), beside(stop, **parts):
            yield self

    def relay(self) -> Relay:
        """The relay, to run on your own where it is ``opened("relay")``: ``await outbox.relay().run(stop)``."""
        return self._open().relay(self._schedules)

    def worker(self) -> Worker:
        """The worker, to run on your own where it is ``opened("worker")``: ``await outbox.worker().run(stop)``.

        Raises:
            LookupError: a type has no handler here; run the worker where they are.
        """
        return self._open().worker(self._all_handled())

    @property
    def pool(self) -> Pool:
        """The pool of psycopg connections (autocommit)."""
        return self._open().pool

    @property
    def metrics(self) -> Metrics:
        """What is counted in this process; prometheus-client serves its ``registry``."""
        return self._open().metrics

    def ring(self) -> None:
        """Wake the relay, after a commit; a lost ring costs a poll (``relay.poll_interval`` seconds)."""
        if self._opened is not None:
            self._opened.bell.ring()

    async def install(self) -> None:
        """Make the schema and the tables, or bring them up to this version; what is there is left alone.

        ``install_sql(name)`` is the same as a statement for your migrations; both raise ``psycopg.Error``: the database
        is away, the role may not create a schema, a newer kaguan made the tables.
        """
        async with await open_connection(self._place.database, "migrate") as connection:
            await install(connection, self.name)

    async def migrate(self) -> None:
        """Bring the tables that are there up to this version; raises as :meth:`install`, and if there are none.

        Raises:
            NotInstalledError: there are none, or a newer kaguan made them.
        """
        async with await open_connection(self._place.database, "migrate") as connection:
            await installation(connection, self.name, behind=True)
            await install(connection, self.name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction on a connection of the outbox's pool; committed on leaving, rolled back by an exception."""
        async with self.pool.connection() as connection, transaction(connection) as after_commit:
            joined = on_psycopg(connection, self.home, after_commit)
            with closing(joined.lasting):
                yield joined

    @overload
    def within(self, session: Awaited) -> Joined: ...
    @overload
    def within(self, session: Executing | Cursored) -> JoinedSync: ...
    def within(self, session: Any) -> Joined | JoinedSync:
        """Join a transaction of yours; whoever opened it commits it.

        Of SQLAlchemy an ``AsyncSession``, ``AsyncConnection``, ``Session`` or ``Connection``, of psycopg an
        ``AsyncConnection`` or ``Connection``, asyncpg's ``Connection``, Django's ``connection``. What blocks is not
        awaited, and needs no open outbox. A session of SQLAlchemy and Django tell of their commit, and the relay is
        woken then; after that of a bare connection call :meth:`ring`, or the relay's next poll sees it.

        Raises:
            TypeError: anything else.
        """
        return join(session, self.home)

    def _own(self, kind: TaskType[Any]) -> None:
        if self._types.get(kind.name) is not kind:
            raise ValueError(f"{kind} is not of the outbox {self.name} / {kind} 不是 {self.name} 的")

    def _all_handled(self) -> Mapping[TaskType[Any], Handler[Any]]:
        if missing := [name for name, one in self._types.items() if one not in self._handlers]:
            raise LookupError(
                f"no handler for {', '.join(missing)}: declare them, or running(worker=False)"
                f" / {'、'.join(missing)} 没有处理器：声明它们，或 running(worker=False)"
            )
        return self._handlers

    def _open(self) -> Opened:
        if self._opened is None:
            raise RuntimeError(
                f"the outbox {self.name} is not open: async with outbox.running() or outbox.opened()"
                f" / {self.name} 没有打开：async with outbox.running() 或 outbox.opened()"
            )
        return self._opened

    def _still_closed(self, what: str) -> None:
        if self._opened is not None:
            raise RuntimeError(f"the outbox {self.name} is open: {what} before / {self.name} 已经打开，太晚了")


def _name(value: object) -> str:
    return type(value).__name__
