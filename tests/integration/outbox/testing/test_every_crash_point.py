"""逐点打断客人的处理器：站得住的放行，站不住的说得出是哪一点、之前做过什么、之后怎样。"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, TypeAlias

import psycopg
import pytest

from kaguan.config import Settings
from kaguan.outbox import (
    Attempt,
    Connection,
    Done,
    Effect,
    Happened,
    NotHappened,
    Outbox,
    Payload,
    Retry,
    Task,
    Unknown,
    VerifiedOutcome,
)
from kaguan.outbox.testing import EveryCrashPoint, Fault, NotProvenError, Outside
from tests.support.untraced import untraced

pytestmark = [
    pytest.mark.unjudged("一遍遍放回去的历史"),
    pytest.mark.direct("死者的会话按后端的进程号断开"),
]
TABLES = """
create table payment (id bigint generated always as identity primary key, order_id int);
create table payment_line (payment_id bigint references payment, amount int);
create table rate (amount int);
insert into rate values (3)
"""
BOOK: Any = """
with booked as (insert into payment (order_id) values (%s) returning id)
insert into payment_line (payment_id, amount) select id, amount from booked, rate
"""


class Order(Payload):
    order_id: int


ORDER = Order(order_id=7)
Made: TypeAlias = Callable[[Outbox, Outside], Task[Order]]


@pytest.fixture(autouse=True)
def _quick(request: pytest.FixtureRequest) -> Iterator[None]:
    """跑完每一点的不跟踪；站不住的走同样的路，早早就停，覆盖率由它们量。"""
    with nullcontext() if "wrong" in request.fixturenames else untraced():
        yield


@pytest.fixture
def outbox_under_test(settings: Settings) -> Outbox:
    url = settings.database.url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLES)
    return Outbox("shop", database=settings.database, redis=settings.redis)


@pytest.fixture
def bank() -> Outside:
    return Outside()


@pytest.fixture
def task(request: pytest.FixtureRequest, outbox_under_test: Outbox, bank: Outside) -> Task[Order]:
    """声明在发件箱打开之前。"""
    made: Made = request.param
    return made(outbox_under_test, bank)


async def book(connection: Connection) -> None:
    await connection.execute(BOOK, (7,))


async def on_another_connection(outbox: Outbox) -> None:
    async with await psycopg.AsyncConnection.connect(outbox.database, autocommit=True) as other:
        await other.execute(BOOK, (7,))


# ---- 站得住的


def in_the_settlement(outbox: Outbox, _: Outside) -> Task[Order]:
    """几次等待，等的钟不真的等；受理后续的也在结算里。"""

    @outbox.task("payment:tell", Order)
    async def tell(attempt: Attempt[Order]) -> Done:
        attempt.checkpoint()
        return Done()

    @outbox.task("payment:book", Order)
    async def handler(attempt: Attempt[Order]) -> Done:
        for _ in range(3):
            await asyncio.sleep(attempt.attempt)
        async with attempt.pool.connection() as connection:
            await connection.execute("select amount from rate")
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(attempt.attempt))

        async def effect(connection: Connection) -> None:
            await book(connection)
            await tell.accept(outbox.within(connection), ORDER)

        return Done({}, effect)

    return handler


def once_and_held(outbox: Outbox, bank: Outside) -> Task[Order]:
    @outbox.task("payment:book", Order, effect=Effect.ONCE, unknown=Unknown.HOLD)
    async def handler(attempt: Attempt[Order]) -> Done:
        async with attempt.once():
            bank.call()
            await asyncio.sleep(attempt.attempt)
        return Done({}, book)

    return handler


def once_and_verified(outbox: Outbox, bank: Outside) -> Task[Order]:
    async def ask(attempt: Attempt[Order]) -> VerifiedOutcome | None:
        await asyncio.sleep(attempt.attempt)
        return Happened(Done({}, book)) if attempt.task_id in bank else NotHappened()

    @outbox.task("payment:book", Order, effect=Effect.ONCE, unknown=Unknown.VERIFY, verify=ask)
    async def handler(attempt: Attempt[Order]) -> Done:
        async with attempt.once():
            await asyncio.sleep(attempt.attempt)
            bank.call(attempt.task_id)
            await asyncio.sleep(attempt.attempt)
        return Done({}, book)

    return handler


def resent_under_the_same_identity(outbox: Outbox, bank: Outside) -> Task[Order]:
    @outbox.task("payment:book", Order, effect=Effect.ONCE, unknown=Unknown.RESEND)
    async def handler(attempt: Attempt[Order]) -> Done:
        async with attempt.once():
            bank.call(attempt.task_id)
        return Done({}, book)

    return handler


def repeated_under_the_same_identity(outbox: Outbox, bank: Outside) -> Task[Order]:
    """锁是进程里的：几个被模拟的进程共用它，也不互相等死。"""
    lock = asyncio.Lock()

    @outbox.task("payment:book", Order)
    async def handler(attempt: Attempt[Order]) -> Done:
        async with lock:
            bank.call(attempt.task_id)
            await asyncio.sleep(attempt.attempt)
        return Done({}, book)

    return handler


def begun_before_the_settlement(outbox: Outbox, _: Outside) -> Task[Order]:
    """处理器起的头，结算里等它。"""

    @outbox.task("payment:book", Order)
    async def handler(attempt: Attempt[Order]) -> Done:
        waited = asyncio.create_task(asyncio.sleep(attempt.attempt))

        async def effect(connection: Connection) -> None:
            await waited
            await book(connection)

        return Done({}, effect)

    return handler


EVERY = tuple(Fault)
SOUND = (
    (EVERY, in_the_settlement),
    ((Fault.KILLED, Fault.STOPPED), once_and_held),
    ((Fault.TAIL_LOST, Fault.LEASE_LOST), once_and_verified),
    ((Fault.KILLED,), begun_before_the_settlement),
    ((Fault.KILLED, Fault.TAIL_LOST), resent_under_the_same_identity),
    ((Fault.LEASE_LOST, Fault.TWICE), repeated_under_the_same_identity),
)


@pytest.mark.parametrize(
    ("faults", "task"),
    [pytest.param(*row, id=row[1].__name__) for row in SOUND]
    + [pytest.param(EVERY, row[1], id=f"{row[1].__name__}, every fault", marks=pytest.mark.long) for row in SOUND[1:]],
    indirect=["task"],
)
async def test_a_sound_handler_is_proven(
    faults: tuple[Fault, ...], task: Task[Order], bank: Outside, every_crash_point: EveryCrashPoint
) -> None:
    proof = await every_crash_point(task, ORDER, calls=bank, faults=faults)
    assert proof.runs == 1 + len(proof.points) * len(faults)


# ---- 站不住的


def through_another_connection(outbox: Outbox, _: Outside) -> Task[Order]:
    @outbox.task("payment:book", Order)
    async def handler(attempt: Attempt[Order]) -> Done:
        attempt.checkpoint()
        await on_another_connection(outbox)
        return Done()

    return handler


def in_a_transaction_of_its_own(outbox: Outbox, _: Outside) -> Task[Order]:
    @outbox.task("payment:book", Order)
    async def handler(attempt: Attempt[Order]) -> Done:
        async with attempt.transaction() as connection:
            await book(connection)
        return Done()

    return handler


def called_before_once(outbox: Outbox, bank: Outside) -> Task[Order]:
    @outbox.task("payment:book", Order, effect=Effect.ONCE, unknown=Unknown.HOLD)
    async def handler(attempt: Attempt[Order]) -> Done:
        bank.call(attempt.task_id)
        async with attempt.once():
            pass
        return Done({}, book)

    return handler


def forgets_once(outbox: Outbox, bank: Outside) -> Task[Order]:
    @outbox.task("payment:book", Order, effect=Effect.ONCE, unknown=Unknown.HOLD)
    async def handler(attempt: Attempt[Order]) -> Done:
        bank.call(attempt.task_id)
        return Done({}, book)

    return handler


def after_it_said_done(outbox: Outbox, _: Outside) -> Task[Order]:
    left: set[asyncio.Task[None]] = set()

    @outbox.task("payment:book", Order)
    async def handler(attempt: Attempt[Order]) -> Done:
        attempt.checkpoint()
        left.add(asyncio.create_task(on_another_connection(outbox)))
        return Done()

    return handler


def swallows_cancellation(outbox: Outbox, _: Outside) -> Task[Order]:
    @outbox.task("payment:book", Order)
    async def handler(attempt: Attempt[Order]) -> Done | Retry:
        attempt.checkpoint()
        try:
            await asyncio.sleep(attempt.attempt)
        except BaseException:  # noqa: BLE001 正是要它吞掉
            return Retry("later")
        return Done({}, book)

    return handler


def asks_its_own_table(outbox: Outbox, bank: Outside) -> Task[Order]:
    async def ask(attempt: Attempt[Order]) -> VerifiedOutcome | None:
        async with attempt.pool.connection() as connection:
            found = await (await connection.execute("select from payment where order_id = 7")).fetchone()
        return Happened(Done()) if found else NotHappened()

    @outbox.task("payment:book", Order, effect=Effect.ONCE, unknown=Unknown.VERIFY, verify=ask)
    async def handler(attempt: Attempt[Order]) -> Done:
        async with attempt.once():
            bank.call(attempt.task_id)
        return Done({}, book)

    return handler


def under_a_new_identity(outbox: Outbox, bank: Outside) -> Task[Order]:
    @outbox.task("payment:book", Order)
    async def handler(attempt: Attempt[Order]) -> Done:
        bank.call((attempt.task_id, attempt.delivery))
        return Done({}, book)

    return handler


def without_an_identity(outbox: Outbox, bank: Outside) -> Task[Order]:
    @outbox.task("payment:book", Order)
    async def handler(attempt: Attempt[Order]) -> Done:
        attempt.checkpoint()
        bank.call()
        return Done({}, book)

    return handler


def marks_before_it_calls(outbox: Outbox, bank: Outside) -> Task[Order]:
    @outbox.task("payment:book", Order)
    async def handler(attempt: Attempt[Order]) -> Done:
        async with attempt.transaction() as connection:
            marked = await connection.execute(
                "insert into payment (order_id) select 7 where not exists (table payment)"
            )
        if marked.rowcount:
            bank.call(attempt.task_id)
        return Done()

    return handler


def under_an_identity_of_its_own(outbox: Outbox, bank: Outside) -> Task[Order]:
    """身份提交在自己的表里：杀死了还在，PostgreSQL 忘了尾巴就换了一个。"""

    @outbox.task("payment:book", Order)
    async def handler(attempt: Attempt[Order]) -> Done:
        async with attempt.transaction() as connection:
            await connection.execute(
                "insert into payment (order_id) select random() * 1e9 where not exists (table payment)"
            )
            identity = await (await connection.execute("select order_id from payment")).fetchone()
        bank.call(identity)
        return Done()

    return handler


TWICE = "the effect is not once: PostgreSQL holds {'public.payment': 2, 'public.payment_line': 2}, "
ONCE = "an undisturbed run leaves {'public.payment': 1, 'public.payment_line': 1}"
CALLED_TWICE = "the outside was called 2 times, not 1"
BROKEN = (
    (through_another_connection, TWICE + ONCE, "`await other.execute(BOOK, (7,))` (await)"),
    (
        in_a_transaction_of_its_own,
        TWICE + ONCE,
        "`async with attempt.transaction() as connection:`: commit (after)",
    ),
    (
        called_before_once,
        f"{CALLED_TWICE}, silently: the type is ONCE and HOLD",
        "`async with attempt.once():` (await)",
    ),
    (
        after_it_said_done,
        "the effect is not once: PostgreSQL holds {'public.payment': 0, 'public.payment_line': 0}, " + ONCE,
        "kaguan: work.settle_done (after)",
    ),
    (
        swallows_cancellation,
        "the handler swallowed the cancellation (CancelledError) and went on: it cannot be stopped",
        "`await asyncio.sleep(attempt.attempt)` (await)",
    ),
    (
        asks_its_own_table,
        f"{CALLED_TWICE}: verify said NotHappened of a call that had happened",
        "kaguan: work.fence (before)",
    ),
    (under_a_new_identity, f"{CALLED_TWICE}, under several identities", "kaguan: work.fence (before)"),
    (
        without_an_identity,
        f"{CALLED_TWICE}, and nobody outside can tell a repetition: give each call its identity (Outside.call)",
        "kaguan: work.fence (before)",
    ),
    (
        marks_before_it_calls,
        "the outside was called 0 times, not 1, and the task says it is done",
        "`async with attempt.transaction() as connection:`: commit (after)",
    ),
    (under_an_identity_of_its_own, f"{CALLED_TWICE}, under several identities", "kaguan: work.settle_done (before)"),
)
FAULTS = {"swallows_cancellation": Fault.STOPPED, "under_an_identity_of_its_own": Fault.TAIL_LOST}


@pytest.mark.parametrize(
    ("task", "wrong", "at"), [pytest.param(*row, id=row[0].__name__) for row in BROKEN], indirect=["task"]
)
async def test_a_broken_handler_is_condemned_at_the_point_where_it_breaks(
    request: pytest.FixtureRequest,
    task: Task[Order],
    wrong: str,
    at: str,
    bank: Outside,
    every_crash_point: EveryCrashPoint,
) -> None:
    fault = FAULTS.get(request.node.callspec.id, Fault.KILLED)
    with pytest.raises(NotProvenError) as condemned:
        await every_crash_point(task, ORDER, calls=bank, faults=tuple(dict.fromkeys((Fault.KILLED, fault))))
    said = str(condemned.value)
    assert said.startswith(f"payment:book is not proven: {wrong}")
    assert re.search(rf"^  at     .*{re.escape(at)}$", said, re.MULTILINE), said
    assert f"\n  fault  {fault}\n  before kaguan: work.claim (before)\n         kaguan: work.claim (after)" in said
    assert (fault is Fault.KILLED) == ("\n  then   its lease runs out, the task is delivered again" in said)


@pytest.mark.parametrize("task", [forgets_once], indirect=True)
async def test_a_handler_that_forgets_once_does_not_even_succeed_undisturbed(
    task: Task[Order], bank: Outside, every_crash_point: EveryCrashPoint
) -> None:
    with pytest.raises(ValueError, match="ends uncertain though nobody disturbs it"):
        await every_crash_point(task, ORDER, calls=bank)


def by_chance(outbox: Outbox, _: Outside) -> Task[Order]:
    """头一遍多等一次。"""
    walked: list[int] = []

    @outbox.task("payment:book", Order)
    async def handler(attempt: Attempt[Order]) -> Done:
        walked.append(attempt.attempt)
        if len(walked) == 1:
            await asyncio.sleep(attempt.attempt)
        return Done({}, book)

    return handler


@pytest.mark.parametrize("task", [by_chance], indirect=True)
async def test_a_handler_that_walks_another_way_each_time_cannot_be_proven(
    task: Task[Order], every_crash_point: EveryCrashPoint
) -> None:
    with pytest.raises(NotProvenError, match="not reached again: what the handler does must not depend on chance"):
        await every_crash_point(task, ORDER)


@pytest.mark.parametrize("task", [once_and_held], indirect=True)
async def test_a_handler_with_too_many_points_is_refused_before_it_is_disturbed(
    task: Task[Order], bank: Outside, every_crash_point: EveryCrashPoint
) -> None:
    with pytest.raises(ValueError, match="payment:book passes more than 9 points"):
        await every_crash_point(task, ORDER, calls=bank, most=9)


@pytest.mark.parametrize("task", [through_another_connection], indirect=True)
async def test_the_same_handler_is_condemned_in_the_same_words_again(
    task: Task[Order], every_crash_point: EveryCrashPoint
) -> None:
    said = []
    for _ in range(2):
        with pytest.raises(NotProvenError) as condemned:
            await every_crash_point(task, ORDER)
        said.append(str(condemned.value))
    assert said == [said[0]] * 2
