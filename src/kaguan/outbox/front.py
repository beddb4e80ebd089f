"""The outbox of an application, as one object: its types, its handlers, its connections, its relay and worker."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, Generic, TypeAlias, TypeVar, Unpack, overload

from pydantic import ValidationError
from redis.asyncio import Redis as RedisClient

from kaguan.config.model import Database, Redis, Tasks
from kaguan.config.model import Relay as RelaySettings
from kaguan.config.model import Worker as WorkerSettings
from kaguan.database.checked_pool import CheckedPool
from kaguan.database.pool import Pool, open_connection, open_pool, transaction
from kaguan.outbox.accept.acceptance import SYSTEM_PRINCIPAL, Accepted, Staged, Submission
from kaguan.outbox.accept.doorbell import BlockingBell, Doorbell
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
from kaguan.outbox.relay import Relay
from kaguan.outbox.schema import PRODUCT, install, installation
from kaguan.outbox.task_type import Effect, Model, Options, P, TaskType, TaskTypes, Unknown
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.outcome import Outcome
from kaguan.outbox.work.verification import Verified, Verify
from kaguan.outbox.worker import SPARE_CONNECTIONS, Worker
from kaguan.presence.beat import Presence
from kaguan.queues.client import open_redis
from kaguan.queues.foreign import take_keys

Handled: TypeAlias = Callable[[Attempt[P]], Coroutine[Any, Any, Outcome]]

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
POSTGRES_FORM = "postgresql://user:password@host/database"
REDIS_FORM = "redis://user:password@host:6379/0, rediss://…"
S = TypeVar("S", Database, Redis)
TAKEN = (PRODUCT, "information_schema", "public")


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
            ValueError: ``at`` has no time zone.
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


@dataclass(frozen=True, slots=True)
class _Opened:
    pool: Pool
    redis: RedisClient
    bell: Doorbell


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
        database: PostgreSQL's URL.
        redis: the URL of Redis or Valkey.
        tasks, relay, worker: attempts, back-off, retention; batches and polls; slots, lease, time limit of an attempt.

    Raises:
        ValueError: a name or a URL that cannot be one.
    """

    def __init__(
        self,
        name: str,
        *,
        database: str,
        redis: str,
        tasks: Tasks | None = None,
        relay: RelaySettings | None = None,
        worker: WorkerSettings | None = None,
    ) -> None:
        if NAME.fullmatch(name) is None or name in TAKEN or name.startswith("pg_"):
            raise ValueError(f"a name is up to 32 of a-z0-9_, none of {TAKEN}, pg_…: {name!r} / 名字至多 32 个 a-z0-9_")
        self.name, self.database = name, database
        self.tasks = tasks or Tasks()
        self._relay, self._worker = relay or RelaySettings(), worker or WorkerSettings()
        self._database = _read(Database, "database", POSTGRES_FORM, url=database, schema_name=name)
        self._redis = _read(Redis, "redis", REDIS_FORM, url=redis)
        self.home = Home(name, self.tasks.max_attempts, self.ring, BlockingBell(redis, self._database.namespace))
        self._types: dict[str, TaskType[Any]] = {}
        self._handlers: dict[TaskType[Any], Handler[Any]] = {}
        self._opened: _Opened | None = None

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
        if self._types.get(kind.name) is not kind:
            raise ValueError(f"{kind} is not of the outbox {self.name} / {kind} 不是 {self.name} 的")
        if kind in self._handlers:
            raise ValueError(f"{kind} has a handler already / {kind} 已经有处理器了")
        if (verify is None) == (kind.unknown is Unknown.VERIFY):
            raise ValueError(f"{kind}: unknown=VERIFY alone wants verify= / unknown=VERIFY 的（且只有它）要给 verify=")
        self._handlers[kind] = handler if verify is None else Verified(handler, verify, resend=resend)

    @asynccontextmanager
    async def opened(self, *, pool: Pool | None = None) -> AsyncIterator[Outbox]:
        """Open the connections, for a process that accepts and neither relays nor works.

        A ``pool`` of yours (psycopg, autocommit) is taken as it is, unchecked: see :mod:`kaguan.outbox.testing`.

        Raises:
            NotInstalledError: the tables are missing, older or newer than this version; it says what to run.
            RuntimeError: it is open already.
            ForeignKeysError: its keys in this Redis are another database's.
        """
        self._still_closed("open it")
        slots = self._worker.concurrency
        async with (
            open_pool(self._database, self.name) if pool is None else nullcontext(pool) as opened,
            open_redis(self._redis, slots + SPARE_CONNECTIONS, self._database.namespace) as redis,
            Doorbell(redis).ringing() as bell,
        ):
            if pool is None:
                async with opened.connection() as connection:
                    await take_keys(redis, str(await installation(connection, self.name)))
            self._opened = _Opened(opened, redis, bell)
            try:
                yield self
            finally:
                self._opened = None
                self.home.bell.close()

    @asynccontextmanager
    async def running(self, *, relay: bool = True, worker: bool = True) -> AsyncIterator[Outbox]:
        """Open the connections and run relay and worker beside what is done inside; stop both in order on leaving.

        On leaving a worker takes nothing new, lets what runs finish and hands back the rest, uncounted.

        Raises:
            LookupError: a type has no handler here; run the worker where they are.
            RuntimeError: it is open already.
        """
        if worker and (missing := [name for name, one in self._types.items() if one not in self._handlers]):
            raise LookupError(
                f"no handler for {', '.join(missing)}: declare them, or running(worker=False)"
                f" / {'、'.join(missing)} 没有处理器：声明它们，或 running(worker=False)"
            )
        async with self.opened():
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                if relay:
                    group.create_task(self._at_work(self.relay(), Presence(self._open().redis, "relay"), stop))
                if worker:
                    work = self.worker()
                    named = Presence(self._open().redis, "worker", work.leases.worker)
                    group.create_task(self._at_work(work, named, stop))
                try:
                    yield self
                finally:
                    stop.set()

    async def _at_work(self, part: Relay | Worker, presence: Presence, stop: asyncio.Event) -> None:
        presence.facts = part.facts
        if isinstance(pool := self._open().pool, CheckedPool):
            await presence.watch(pool)
        async with presence.beating():
            await part.run(stop)

    def relay(self) -> Relay:
        """The relay, to run on your own: ``await outbox.relay().run(stop)``."""
        here = self._open()
        return Relay(here.pool, here.redis, self._types.values(), self._relay, self.tasks, self._worker)

    def worker(self) -> Worker:
        """The worker, to run on your own: ``await outbox.worker().run(stop)``."""
        here = self._open()
        return Worker(here.pool, here.redis, self._handlers, self._worker, self.tasks)

    @property
    def pool(self) -> Pool:
        """The pool of psycopg connections (autocommit)."""
        return self._open().pool

    def ring(self) -> None:
        """Wake the relay, after a commit; a lost ring costs a poll (``relay.poll_interval`` seconds)."""
        if self._opened is not None:
            self._opened.bell.ring()

    async def install(self) -> None:
        """Make the schema and the tables, or bring them up to this version; what is there is left alone.

        ``install_sql(name)`` is the same as a statement for your migrations; both raise ``psycopg.Error``: the database
        is away, the role may not create a schema, a newer kaguan made the tables.
        """
        async with await open_connection(self._database, self.name) as connection:
            await install(connection, self.name)

    async def migrate(self) -> None:
        """Bring the tables that are there up to this version; raises as :meth:`install`, and if there are none.

        Raises:
            NotInstalledError: there are none, or a newer kaguan made them.
        """
        async with await open_connection(self._database, self.name) as connection:
            await installation(connection, self.name, behind=True)
            await install(connection, self.name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction on a connection of the outbox's pool; committed on leaving, rolled back by an exception."""
        async with self.pool.connection() as connection, transaction(connection) as after_commit:
            yield on_psycopg(connection, self.home, after_commit)

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

    def _open(self) -> _Opened:
        if self._opened is None:
            raise RuntimeError(
                f"the outbox {self.name} is not open: async with outbox.running() or outbox.opened()"
                f" / {self.name} 没有打开：async with outbox.running() 或 outbox.opened()"
            )
        return self._opened

    def _still_closed(self, what: str) -> None:
        if self._opened is not None:
            raise RuntimeError(f"the outbox {self.name} is open: {what} before / {self.name} 已经打开，太晚了")


def _read(model: type[S], argument: str, form: str, **given: str) -> S:
    try:
        return model.model_validate(given)
    except ValidationError:  # pydantic's words have the URL in them, password and all
        raise ValueError(f"{argument}= wants {form} / {argument}= 应形如 {form}") from None


def _name(value: object) -> str:
    return type(value).__name__
