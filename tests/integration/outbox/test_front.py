"""发件箱作为一个对象：声明、受理、跑起来；用错了当场说清楚。"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from traceback import format_exception
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from kaguan.config import Settings
from kaguan.outbox import (
    Attempt,
    DatabaseSettings,
    Done,
    Effect,
    Outbox,
    Payload,
    Retry,
    Task,
    TaskStatus,
    Transaction,
    Unknown,
    watch,
)
from kaguan.outbox.operate.record import find
from tests.support.eventually import PATIENCE


class Parcel(Payload):
    number: int


class NotSoldError(Exception):
    """客人自己的事务没有成。"""


class Letter(Payload):
    text: str


class Crate(Payload):
    number: int = 1
    content: Any


def outbox(settings: Settings, name: str) -> Outbox:
    return Outbox(name, database=settings.database, redis=settings.redis)


@pytest.fixture
async def shop(settings: Settings) -> Outbox:
    opened = outbox(settings, "shop")
    await opened.install()
    return opened


def sending(shop: Outbox, sent: list[int], **options: Any) -> Task[Parcel]:
    @shop.task("parcel:send", Parcel, **options)
    async def send(attempt: Attempt[Parcel]) -> Done:
        number = attempt.payload.number
        sent.append(number)
        return Done({"number": number})

    return send


async def ended(shop: Outbox, *task_ids: Any) -> list[str]:
    async with shop.pool.connection() as connection:
        found = await watch(connection, task_ids, PATIENCE, lambda _: None)
    return [task.status for task in found]


async def test_what_is_accepted_in_a_transaction_is_done_and_what_is_rolled_back_is_not(shop: Outbox) -> None:
    sent: list[int] = []
    send = sending(shop, sent)
    async with shop.running():
        with suppress(NotSoldError):
            async with shop.transaction() as tx:
                await send.accept(tx, Parcel(number=1))
                raise NotSoldError
        async with shop.transaction() as tx:
            await tx.execute("select 1")
            accepted = [await send.accept(tx, Parcel(number=2), request_id="two") for _ in range(2)]
        assert [one.replayed for one in accepted] == [False, True]
        assert await ended(shop, accepted[0].task_id) == [TaskStatus.SUCCEEDED]
    assert sent == [2]


async def test_a_session_of_sqlalchemy_commits_its_task_and_wakes_the_relay(shop: Outbox, settings: Settings) -> None:
    sent: list[int] = []
    send = sending(shop, sent)
    url = settings.database.url.get_secret_value().replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_async_engine(url, poolclass=NullPool)
    async with shop.running(), AsyncSession(engine) as session:
        await session.execute(text("select 1"))
        await send.accept(shop.within(session), Parcel(number=1))
        await session.rollback()
        accepted = await send.accept(shop.within(session), Parcel(number=2))
        await session.commit()
        assert await ended(shop, accepted.task_id) == [TaskStatus.SUCCEEDED]
    await engine.dispose()
    assert sent == [2]


async def test_a_connection_of_the_guests_own_is_joined_and_stays_his_to_commit(
    shop: Outbox, settings: Settings
) -> None:
    send = sending(shop, [])
    url = settings.database.url.get_secret_value()
    async with shop.opened(), await psycopg.AsyncConnection.connect(url) as own:
        accepted = await send.accept(shop.within(own), Parcel(number=1))
        async with shop.pool.connection() as other:
            assert await find(other, accepted.task_id) is None
            await own.commit()
            assert await find(other, accepted.task_id) is not None


@pytest.mark.usefixtures("shop")
async def test_a_transaction_is_refused_once_its_block_is_left_whatever_its_connection_does_next(
    settings: Settings,
) -> None:
    """只有一条连接：下一个事务用的就是它，回滚了，答应过的也就没了。"""
    url = settings.database.url
    narrow = Outbox("shop", database=DatabaseSettings(url=url, pool_min=1, pool_max=1), redis="redis://127.0.0.1:1")
    send, told = sending(narrow, []), list[int]()
    async with narrow.opened():
        async with narrow.transaction() as left:
            left.after_commit(lambda: told.append(1))
        with suppress(NotSoldError):
            async with narrow.transaction() as tx:
                raise NotSoldError
        async with narrow.transaction() as other:
            for late in (left, tx):
                with pytest.raises(RuntimeError, match=r"transaction is over.*这个事务已经结束"):
                    await send.accept(late, Parcel(number=1))
                with pytest.raises(RuntimeError, match="transaction is over"):
                    await late.execute("select 1")
                with pytest.raises(RuntimeError, match="transaction is over"):
                    late.after_commit(lambda: told.append(2))
                with pytest.raises(RuntimeError, match="transaction is over"):
                    _ = late.connection
            cursor = await other.execute("select count(*) from tb_task")
            assert (await cursor.fetchone(), told) == ((0,), [1])


async def test_attempts_are_the_types_and_otherwise_the_outboxs(shop: Outbox) -> None:
    @shop.task("parcel:lose", Parcel, max_attempts=1)
    async def lose(_attempt: Attempt) -> Retry:
        return Retry("lost")

    other = shop.type("parcel:keep", Parcel)
    async with shop.opened():
        async with shop.transaction() as tx:
            few = await lose.accept(tx, Parcel(number=1), key="k")
            alone = await lose.accept(tx, Parcel(number=1))
            many = await other.accept(tx, Parcel(number=1))
        async with shop.pool.connection() as connection:
            found = [await find(connection, one.task_id) for one in (few, alone, many)]
    assert [task.max_attempts for task in found if task] == [1, 1, shop.tasks.max_attempts]


async def test_a_schedule_is_accepted_once_when_it_is_due_with_the_day_in_its_payload(shop: Outbox) -> None:
    write = shop.type("letter:write", Letter)
    shop.schedule("new-year", "0 0 1 1 *", write, Letter(text="{today}"))
    async with shop.opened("relay"):
        schedules = shop.relay().loops["schedules"]
        assert await schedules.run_once() == 0
        async with shop.pool.connection() as connection:
            cursor = await connection.execute(
                "update tb_schedule set next_due_at = date_trunc('year', now() at time zone 'utc') at time zone 'utc'"
                " returning extract(year from next_due_at at time zone 'utc')"
            )
            ((year,),) = await cursor.fetchall()
            assert [await schedules.run_once() for _ in range(2)] == [1, 0]
            cursor = await connection.execute("select type, payload->>'text' from vw_task")
            ((name, day),) = await cursor.fetchall()
    assert (name, day) == ("letter:write", f"{year}-01-01")


async def test_a_wrong_use_is_refused_at_the_first_call_in_words(shop: Outbox) -> None:
    send = sending(shop, [])
    elsewhere, crate = shop.type("letter:write", Letter), shop.type("crate:send", Crate)
    unwritable = r"crate:send: Crate \['content'\] cannot be written as JSON.*写不成 JSON"
    with pytest.raises(ValueError, match=unwritable):
        shop.schedule("crate", "0 0 * * *", crate, Crate(content=object()))
    with pytest.raises(RuntimeError, match="not open"):
        _ = shop.pool
    with pytest.raises(LookupError, match="letter:write"):
        async with shop.running():
            pass
    with pytest.raises(LookupError, match="no handler"):
        await elsewhere(None)  # type: ignore[arg-type] # 没有处理器，走不到那里
    async with shop.opened():
        with pytest.raises(RuntimeError, match="is open"):
            shop.type("letter:late", Letter)
        with pytest.raises(RuntimeError, match="is open"):
            shop.schedule("late", "0 0 * * *", send, Parcel(number=1))
        with pytest.raises(RuntimeError, match="is open"):
            await shop.opened().__aenter__()
        async with shop.transaction() as tx:
            with pytest.raises(TypeError, match="carries Parcel"):
                await send.accept(tx, Letter(text="x"))  # type: ignore[call-overload] # 用错的
            with pytest.raises(TypeError, match="wants a transaction"):
                await send.accept(tx.connection, Parcel(number=1))  # type: ignore[call-overload] # 用错的
            with pytest.raises(ValueError, match="time zone"):
                await send.accept(tx, Parcel(number=1), at=datetime(2026, 1, 1))  # noqa: DTZ001 用错的
            with pytest.raises(ValueError, match=unwritable):
                await crate.accept(tx, Crate(content={"deep": [b"\xff"]}))
        with pytest.raises(TypeError, match="AsyncSession"):
            shop.within(object())  # type: ignore[call-overload] # 用错的


def test_a_declaration_that_cannot_hold_is_refused(shop: Outbox) -> None:
    async def handler(_attempt: Attempt) -> Done:
        return Done()

    sending(shop, [])
    with pytest.raises(ValueError, match="parcel:send"):
        sending(shop, [])
    with pytest.raises(ValueError, match="max_attempts"):
        shop.type("parcel:never", Parcel, max_attempts=0)
    with pytest.raises(ValueError, match="领域:动作"):
        shop.type("parcel", Parcel)
    with pytest.raises(ValueError, match="verify="):
        shop.task("parcel:charge", Parcel, effect=Effect.ONCE, unknown=Unknown.VERIFY)(handler)
    letter = shop.type("letter:write", Letter)
    with pytest.raises(TypeError, match="coroutine"):
        shop.handles(letter)(len)  # type: ignore[arg-type] # 用错的
    shop.handles(letter)(handler)
    with pytest.raises(ValueError, match="already"):
        shop.handles(letter)(handler)
    with pytest.raises(ValueError, match="name"):
        Outbox("My Shop", database="postgresql://h/d", redis="redis://h")
    for database, redis in (("pg://u:secret@h/d", "redis://h"), ("postgresql://h/d", "amqp://u:secret@h")):
        with pytest.raises(ValueError, match=r"(database|redis)= wants (postgresql|redis)://") as refusal:
            Outbox("shop", database=database, redis=redis)
        assert "secret" not in "".join(format_exception(refusal.value))
    for name, cron, zone in (("A", "0 0 * * *", "UTC"), ("a", "0 0 * *", "UTC"), ("a", "0 0 * * *", "Mars")):
        with pytest.raises(ValueError, match="Schedule"):
            shop.schedule(name, cron, letter, Letter(text="x"), timezone=zone)
    shop.schedule("a", "0 0 * * *", letter, Letter(text="x"))
    with pytest.raises(ValueError, match="重名"):
        shop.schedule("a", "0 1 * * *", letter, Letter(text="x"))
    foreign = Outbox("other", database="postgresql://h/d", redis="redis://h").type("letter:send", Letter)
    with pytest.raises(ValueError, match="not of the outbox"):
        shop.handles(foreign)(handler)
    with pytest.raises(ValueError, match="not of the outbox"):
        shop.schedule("b", "0 0 * * *", foreign, Letter(text="x"))


@pytest.mark.parametrize("inside", ["opened", "running"])
async def test_an_error_inside_comes_out_as_it_was_raised(shop: Outbox, inside: str) -> None:
    sending(shop, [])
    own = NotSoldError()

    async def late() -> None:
        async with asyncio.timeout(None) as limit, getattr(shop, inside)():
            limit.reschedule(0)
            await asyncio.Event().wait()

    with pytest.raises(NotSoldError) as raised:
        async with getattr(shop, inside)():
            raise own
    assert raised.value is own
    with pytest.raises(TimeoutError):
        await late()


async def test_leaving_waits_for_what_runs(shop: Outbox) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    @shop.task("parcel:pack", Parcel)
    async def pack(_attempt: Attempt) -> Done:
        begun.set()
        await go_on.wait()
        return Done({"packed": True})

    async def packed() -> Any:
        async with shop.running():
            async with shop.transaction() as tx:
                assert isinstance(tx, Transaction)
                accepted = await pack.accept(tx, Parcel(number=1))
            async with asyncio.timeout(PATIENCE):
                await begun.wait()
            asyncio.get_running_loop().call_soon(go_on.set)
        return accepted.task_id

    task_id = await packed()
    async with shop.opened(), shop.pool.connection() as connection:
        task = await find(connection, task_id)
    assert task is not None
    assert (task.status, task.result) == (TaskStatus.SUCCEEDED, {"packed": True})
