"""一次尝试：处理器看得到的一切。写入都经它的隔离（:mod:`kaguan.outbox.work.fence`）。"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Generic, Protocol
from uuid import UUID

from psycopg.types.json import Jsonb

from kaguan.database.pool import Connection, Pool
from kaguan.database.sql import load
from kaguan.outbox.task_type import P_co, P_contra
from kaguan.outbox.work.fence import Fence, FencedError, Token
from kaguan.outbox.work.gathered import Answer, Gathered, Key, Read, Reads, Row
from kaguan.outbox.work.intents import Intent, Intents, mark
from kaguan.outbox.work.outcome import Outcome, Write
from kaguan.outbox.work.places import Seat
from kaguan.telemetry.propagation import current_traceparent

PACKAGE = "kaguan.outbox.work"
PROGRESS_INTERVAL = 1.0  # 秒；写得更勤只会增加死元组


class CancelledByUserError(Exception):
    """A person asked to cancel the task: :meth:`Attempt.checkpoint` stops the handler, which lets it pass."""

    def __str__(self) -> str:
        return "a person asked to cancel the task / 有人要求取消这个任务"


@dataclass(slots=True)
class Attempt(Generic[P_co]):
    """One try at a task, as its handler sees it.

    Attributes:
        payload: what was accepted, validated.
        attempt: which try this is, from 1.
        max_attempts: how many there are.
        type: the name of the task's type.
        request_id: as it was accepted.
        intended: an earlier try may have made the outside call, and nobody knows yet.
        declared: :meth:`once` was entered in this try.
        calls_nobody: :meth:`call_nobody` was called in this try.
        deadline: when a long handler should give up its slot, by the event loop's clock; see :meth:`time_left`.
        lost: is set when the lease is lost; :meth:`checkpoint` asks for it.
        cancel_requested: is set when a person asked to cancel; :meth:`checkpoint` asks for it.
        progress: what :meth:`report` said last.
        fence: what every write passes; :meth:`transaction` is its door.
        intents: where it records that an outside call follows; ``None``: on its own.
        reads: where :meth:`read` meets the others; ``None``: on its own.
        seat: its place in the worker; ``None`` when it is done on the spot.
    """

    fence: Fence
    type: str
    attempt: int
    max_attempts: int
    payload: P_co
    request_id: str | None = None
    intended: bool = False
    declared: bool = False
    calls_nobody: bool = False
    deadline: float = math.inf
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    cancel_requested: asyncio.Event = field(default_factory=asyncio.Event)
    intents: Intents | None = None
    reads: Reads | None = None
    seat: Seat | None = None  # 没有坐席的（就地执行、单试处理器）不排队
    progress: dict[str, int | None] | None = None
    _progress_at: float = 0.0

    @property
    def pool(self) -> Pool:
        """Connections for reading; what is written goes through :meth:`transaction`."""
        return self.fence.pool

    async def read(self, read: Read[Key, Answer], key: Key) -> Answer:
        """Read in one statement with the other tasks of this worker that read at the same moment.

        Example::

            async def customers(connection: Connection, ids: Sequence[int]) -> list[Customer | None]:
                rows = await connection.execute("select … where id = any(%s)", (list(set(ids)),))
                found = {id: Customer(id, name) async for id, name in rows}
                return [found.get(id) for id in ids]

            customer = await attempt.read(customers, attempt.payload.customer_id)

        Args:
            read: is given a connection and the keys of several tasks, and answers one for each, in their order. The
                same function each time, not one made in the handler. What it fails on fails its task alone.
            key: of this task.

        Returns:
            What ``read`` answered for ``key``.

        Raises:
            psycopg.Error: the database failed, or took longer than 10 seconds.
            ValueError: ``read`` did not answer one for each.
            RuntimeError: a hundred functions were given: they are made anew each time.
        """
        if self.reads is None:
            self.reads = Reads(self.pool)
        return await self.reads.read(read, key)

    @property
    def token(self) -> Token:
        """Task, delivery and claim: what a write is checked against."""
        return self.fence.token

    @property
    def task_id(self) -> UUID:
        """The id of the task, the same in each try: what you give the other side to know a repetition by."""
        return self.token.task_id

    @property
    def delivery(self) -> int:
        """How often the task was handed over, this time included."""
        return self.token.delivery

    def checkpoint(self) -> None:
        """Stop here if there is no use in going on; call it before each step of a long handler, and let it raise.

        Raises:
            FencedError: the lease is lost; somebody else has the task.
            CancelledByUserError: a person asked to cancel.
        """
        if self.lost.is_set():
            raise FencedError
        if self.cancel_requested.is_set():
            raise CancelledByUserError

    @property
    def passes(self) -> int:
        """How often it was handed over without using up an attempt."""
        return self.delivery - self.attempt

    @asynccontextmanager
    async def outside(self, whom: str) -> AsyncIterator[None]:
        """Inside, you wait for ``whom`` outside: the slot is given up to others, and taken again on leaving.

        Hold no database connection inside. The type wants ``limit`` or ``resources``; without, the slot is kept.

        Args:
            whom: a name, shown where the worker tells who waits for whom.
        """
        async with nullcontext() if self.seat is None else self.seat.outside(whom):
            yield

    @asynccontextmanager
    async def place(self, whom: str) -> AsyncIterator[None]:
        """Inside, you hold one of the places of ``whom`` (``resources`` of the type); while you wait, no slot.

        Args:
            whom: one of the names in ``resources``.

        Raises:
            NoPlaceError: none will be free soon, or ``whom`` is paused; let it pass, and the task comes again,
                uncounted.
            LookupError: the type does not name ``whom``.
        """
        async with nullcontext() if self.seat is None else self.seat.place(whom):
            yield

    def time_left(self) -> float:
        """Seconds until a long handler should return ``Snooze``; not above 0: now, or the limit costs an attempt."""
        return self.deadline - asyncio.get_running_loop().time()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction of yours in the middle of the handler, on a psycopg connection; the task is locked and yours.

        Raises:
            FencedError: the task is no longer this worker's; nothing is written.
            GateClosedError: PostgreSQL has just lost a tail; let it pass, the task comes again, uncounted.
        """
        declared = self.declared
        try:
            async with self.fence.transaction() as connection:
                yield connection
        except BaseException:
            self.declared = declared  # 意向没有提交（或不知道）：无论如何，外部调用还没开始
            raise

    def after_commit(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` after the commit of :meth:`transaction` or of the outcome's ``effect``, if there is one."""
        self.fence.after_commit(tell)

    async def declare_intent(self, connection: Connection) -> None:
        """Record in your :meth:`transaction` that the outside call follows; :meth:`once` does both.

        Args:
            connection: of :meth:`transaction`.

        Raises:
            UnnotedError: Redis is away, it was not recorded: do not call; let it pass, the task comes again, uncounted.
            FencedError: the task is no longer this worker's.
            GateClosedError: PostgreSQL has just lost a tail; let it pass, the task comes again, uncounted.
        """
        await self._intents.note(connection, [self.token])
        if not await mark(connection, [self.token]):
            raise await self.fence.failed(connection)
        self.declared = True

    @asynccontextmanager
    async def once(self, write: Write | None = None) -> AsyncIterator[None]:
        """Inside, make the outside call that cannot be repeated: that it follows is committed before you enter.

        If the worker dies after that, or something is raised inside, nobody knows whether the call was made, and
        ``unknown`` of the type decides.

        Example::

            async with attempt.once():
                await bank.charge(attempt.payload.amount, reference=str(attempt.task_id))
            return Done()

        Args:
            write: what you write in the transaction that records the intent, given its connection.

        Raises:
            FencedError: the task is no longer this worker's; the block is not entered. So with the others:
            CancelledByUserError: a person asked to cancel.
            UnnotedError: Redis is away; let it pass, the task comes again, uncounted.
            GateClosedError: PostgreSQL has just lost a tail; as before.
        """
        if write is None or isinstance(write, Gathered):
            await self.intend(write)
        else:
            self.checkpoint()
            async with self.transaction() as connection:
                await self.declare_intent(connection)
                await write(connection)
        yield

    async def intend(self, write: Gathered[Row, Answer] | None = None) -> Answer | None:
        """Record that the outside call follows, in one commit with whatever else is to be recorded at this moment.

        Returns:
            What ``write`` answered.

        Raises:
            FencedError: as of :meth:`once`; the others too.
        """
        self.checkpoint()
        declared = await self._intents.declare(Intent(self.token, write))
        if declared is None:
            async with self.pool.connection() as connection:
                raise await self.fence.failed(connection)
        self.declared = True
        answer: Answer | None = declared.answer
        return answer

    @property
    def _intents(self) -> Intents:
        if self.intents is None:
            self.intents = Intents(self.pool)
        return self.intents

    def call_nobody(self) -> None:
        """Say that this try of a ``ONCE`` task needs no outside call: :meth:`once` is left out on purpose."""
        self.calls_nobody = True

    async def report(self, done: int, total: int | None = None, **counters: int) -> None:
        """Show progress on the task; written once a second at most, and with the outcome.

        Args:
            done: how much is done.
            total: of how much, if that is known.
            counters: numbers of your own, by name.
        """
        self.progress = {"done": done, "total": total, **counters}
        now = asyncio.get_running_loop().time()
        if now - self._progress_at < PROGRESS_INTERVAL:
            return
        self._progress_at = now
        parameters = {**self.token._asdict(), "progress": Jsonb(self.progress), "traceparent": self.own_traceparent}
        async with self.pool.connection() as connection:
            await connection.execute(load(PACKAGE, "progress"), parameters)

    @property
    def own_traceparent(self) -> str | None:
        """The ``traceparent`` of this try; of the first delivery ``None``: it is in the trace of the acceptance."""
        return current_traceparent() if self.delivery > 1 else None


class Handler(Protocol[P_contra]):
    """处理器：一次尝试进，一个结果出。"""

    async def __call__(self, attempt: Attempt[P_contra], /) -> Outcome: ...
