"""What the fixtures of the pytest plugin give."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack, cast
from uuid import UUID

from kaguan.database.pool import Pool
from kaguan.outbox.front import Outbox, Task
from kaguan.outbox.task_type import P
from kaguan.outbox.testing import draining
from kaguan.outbox.testing.draining import AcceptedTask
from kaguan.outbox.testing.driving import DRIVING
from kaguan.outbox.testing.faults import Fault, Proof
from kaguan.outbox.testing.ground import Ground, ground, look_into
from kaguan.outbox.testing.outside import Calls, Outside
from kaguan.outbox.testing.proof import MOST, Effects, Handlers, Proving
from kaguan.outbox.testing.stepped import SteppedConnection, SteppedPool, connect
from kaguan.outbox.work.attempt import Handler


@dataclass(frozen=True, slots=True)
class Bench:
    """打开了的发件箱，与它的库。"""

    outbox: Outbox
    ground: Ground
    connect: Callable[[], Awaitable[SteppedConnection]]


@asynccontextmanager
async def bench(outbox: Outbox, url: str) -> AsyncIterator[Bench]:
    """在 ``url`` 上打开，装好，清空。"""
    spare: list[SteppedConnection] = []

    async def opening() -> SteppedConnection:
        connection = await connect(url)
        await look_into(connection, outbox.name)
        return connection

    pool = SteppedPool(DRIVING.get, spare, opening)  # type: ignore[arg-type] # 被推的都是 Process
    try:
        async with ground(url, outbox.name, spare) as here, outbox.opened(pool=cast("Pool", pool)):
            await here.empty()
            yield Bench(outbox, here, opening)
    finally:
        for connection in spare:
            await connection.close()


@dataclass(frozen=True, slots=True)
class Accepted:
    """The fixture ``accepted``: what is accepted inside ``async with accepted(…)``.

    Example::

        async with accepted(write_receipt, order_id=7, request_id="receipt of 7") as tasks:
            await buy(7)
        assert tasks[0].queue == "default"
    """

    _bench: Bench

    @asynccontextmanager
    async def __call__(
        self,
        task: Task[Any],
        /,
        *,
        count: int = 1,
        request_id: str | None = None,
        key: str | None = None,
        **payload: object,
    ) -> AsyncIterator[list[AcceptedTask]]:
        """Assert that exactly ``count`` tasks of a type are accepted, and committed, inside.

        Args:
            task: the type.
            count: how many; 0 for none.
            request_id: that of each; not compared unless given.
            key: their ordering key; not compared unless given.
            payload: fields that each payload has; others are not compared.

        Yields:
            The tasks that match, in the order of acceptance; the list is filled on leaving.

        Raises:
            AssertionError: another number; it lists what was accepted.
        """
        before = {one.id for one in await self._all(task)}
        matching: list[AcceptedTask] = []
        yield matching
        found = [one for one in await self._all(task) if one.id not in before]
        matching += [
            one
            for one in found
            if request_id in {None, one.request_id}
            and key in {None, one.key}
            and all(one.payload.get(name) == value for name, value in payload.items())
        ]
        if len(matching) != count:
            named = {"request_id": request_id, "key": key}
            wanted = {name: value for name, value in named.items() if value is not None} | payload
            listed = "\n".join(f"  {one.request_id} {one.key} {one.payload}" for one in found) or "  (none)"
            raise AssertionError(
                f"accepted {len(matching)}, not {count}, of {task.type} {wanted}"
                f" / 受理了 {len(matching)} 个，不是 {count} 个\n"
                f"accepted inside (request_id, key, payload):\n{listed}"
            )

    async def _all(self, task: Task[Any]) -> list[AcceptedTask]:
        async with self._bench.outbox.pool.connection() as connection:
            return await draining.accepted(connection, task.type)


@dataclass(frozen=True, slots=True)
class Drain:
    """The fixture ``drain``: does everything in the outbox on the spot, as a worker would, without Redis."""

    _bench: Bench

    async def __call__(self, *, skip_waits: bool = True) -> Counter[str]:
        """Do all that is due, and what comes of it, until nothing is left.

        Args:
            skip_waits: neither back-off nor ``at=`` is waited for: all counts as due.

        Returns:
            How many tasks ended in which status: ``{"succeeded": 2, "failed": 1}``.

        Raises:
            LookupError: a type has no handler in this process.
            RuntimeError: it does not come to an end within a thousand rounds.
        """
        outbox = self._bench.outbox
        return await draining.drain(outbox.pool, outbox.handlers, outbox.tasks, skip_waits=skip_waits)


class Disturbing(TypedDict, total=False):
    """What a proof may be told.

    Attributes:
        effects: SQL, or a coroutine function of a connection, that shows what the handler leaves; compare no generated
            ids or times. By default the number of rows of each of your tables.
        calls: how often the outside was asked so far: an :class:`Outside`, or a function that returns a number, or the
            identities of all calls.
        before: called (and awaited) before each run: puts your stand-ins for the outside back to the beginning.
        fresh: makes the handler anew for each simulated process, where it keeps locks or connections of its own.
        key: the ordering key.
        faults: fewer than all.
        most: points; a handler that passes more (400 unless given) is refused.
    """

    effects: Effects
    calls: Calls
    before: Callable[[], object]
    fresh: Callable[[], Handler[Any]]
    key: str
    faults: Sequence[Fault]
    most: int


@dataclass(frozen=True, slots=True)
class EveryCrashPoint:
    """The fixture ``every_crash_point``: proves a handler, on PostgreSQL, by disturbing it wherever it waits.

    Example::

        async def test_charging_is_once(every_crash_point: EveryCrashPoint) -> None:
            await every_crash_point(charge, Charge(order_id=7), calls=bank, effects="select * from payment")
    """

    _bench: Bench

    async def __call__(self, task: Task[P], payload: P, /, **options: Unpack[Disturbing]) -> Proof:
        """Run the handler once undisturbed, then once for each point it passed and each :class:`Fault`, to the end.

        A point is an ``await`` of the handler's own code, and before and after each statement and each commit on the
        outbox's connections, those of claim and settlement too. At a point the process is killed; or its connections
        are cut and an answer is lost; or it stands still while its lease is lost and an heir does the task, then wakes
        up; or another executes the same delivery meanwhile; or it is told to stop. After each run the same delivery
        comes once more. Each run starts from the rows the database had at the call; waits are skipped.

        It fails unless each time the task ends well, the effect in PostgreSQL is that of the undisturbed run, and the
        outside is not asked again silently: for ``ONCE`` with ``HOLD`` never; with ``VERIFY`` only after a truthful
        ``NotHappened``; with ``RESEND``, and for ``REPEATABLE``, only under the same identity. Where a task ends
        ``uncertain``, a person has it done again, and the effect must still be once.

        Args:
            task: the type, of the outbox under test, with its handler.
            payload: what is accepted.
            options: :class:`Disturbing`.

        Returns:
            The points, and how many runs there were: one, and for each point one for each fault.

        Raises:
            NotProvenError: an ``AssertionError``: the point, the fault, what had been done and what came then.
            ValueError: undisturbed it does not succeed, it passes too many points, or your foreign keys go in a circle.
            LookupError: the type has no handler in this process.
        """
        outbox, fresh, calls = self._bench.outbox, options.get("fresh"), options.get("calls")
        outbox.handler_of(task.type)

        def build() -> Handlers:
            return outbox.handlers if fresh is None else {**outbox.handlers, task.type: fresh()}

        async def accept() -> UUID:
            async with outbox.transaction() as transaction:
                return (await task.accept(transaction, payload, key=options.get("key"))).task_id

        proving = Proving(
            ground=self._bench.ground,
            type=task.type,
            build=build,
            accept=accept,
            connect=self._bench.connect,
            effects=options.get("effects"),
            calls=Outside() if calls is None else calls,
            before=options.get("before", calls.clear if isinstance(calls, Outside) else None),
            tasks=outbox.tasks,
            faults=options.get("faults", tuple(Fault)),
            most=options.get("most", MOST),
        )
        return await proving.prove()
