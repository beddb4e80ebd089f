"""客人的事务，客人的驱动：随他提交，随他回滚；他的 ``search_path`` 里有别人的表也一样。"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import asyncpg
import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from redis.asyncio import Redis
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from kaguan.config import Settings
from kaguan.outbox import Accepted, Outbox, Payload, Task
from kaguan.outbox.accept.doorbell import BlockingBell
from kaguan.queues.client import open_redis
from kaguan.queues.keys import doorbell
from kaguan.words.errors import Code, DomainError
from tests.support.eventually import PATIENCE
from tests.support.guests import DRIVERS, STRANGER, Guest
from tests.support.said import capture_logs

pytestmark = pytest.mark.direct("客人连上就带着自己的 search_path：出厂的 PgBouncer 不认这个启动参数")
CHANNEL = doorbell("kaguan.shop")
UNIMPORTED = """
import sys
import kaguan.outbox.front
print([name for name in ("asyncpg", "django", "sqlalchemy") if name in sys.modules])
"""


class Parcel(Payload):
    number: int


@dataclass(frozen=True, slots=True)
class Shop:
    """装好了、打开着的发件箱；``beside`` 是旁人的一条连接。"""

    outbox: Outbox
    send: Task[Parcel]
    beside: AsyncConnection[tuple[Any, ...]]
    redis: Redis

    async def accept(self, guest: Guest, number: int = 1, **how: Any) -> Accepted:
        accepted: Accepted = await guest.run(
            lambda: self.send.accept(self.outbox.within(guest.session), Parcel(number=number), **how)
        )
        return accepted

    async def numbers(self) -> list[int]:
        """看得见的任务的包裹号，按受理的次序；客人的表里什么也没有。"""
        cursor = await self.beside.execute(f"select count(*) from {STRANGER}.tb_task".encode())
        assert await cursor.fetchone() == (0,)
        cursor = await self.beside.execute(b"select (payload ->> 'number')::int from shop.tb_task order by id")
        return [row[0] for row in await cursor.fetchall()]


@pytest.fixture
def url(settings: Settings) -> str:
    return settings.database.url.get_secret_value()


@pytest.fixture
async def shop(settings: Settings, url: str) -> AsyncIterator[Shop]:
    outbox = Outbox("shop", database=settings.database, redis=settings.redis)
    bell = BlockingBell(settings.redis.url.get_secret_value(), "kaguan.shop", PATIENCE)  # 停顿再久也按得成
    outbox.home = replace(outbox.home, bell=bell)
    send = outbox.type("parcel:send", Parcel)
    await outbox.install()
    async with (
        outbox.opened(),
        await AsyncConnection.connect(url, autocommit=True) as beside,
        open_redis(settings.redis) as redis,
    ):
        await beside.execute(f"create schema {STRANGER}".encode())
        await beside.execute(f"create table {STRANGER}.tb_task (like shop.tb_task)".encode())
        yield Shop(outbox, send, beside, redis)


@pytest.fixture(params=DRIVERS)
async def guest(request: pytest.FixtureRequest, shop: Shop, url: str) -> AsyncIterator[Guest]:  # noqa: ARG001 先装好
    async with DRIVERS[request.param](url) as opened:
        yield opened


def told(logs: list[dict[str, Any]]) -> int:
    return sum(line["count"] for line in logs if line["event"] == "受理任务")


async def test_what_is_rolled_back_leaves_nothing_and_what_is_committed_is_there_and_rings(
    shop: Shop, guest: Guest
) -> None:
    """受理先于提交也一样。说不出提交的驱动不按铃：自己按，或等 relay 来看。"""
    async with shop.redis.pubsub(ignore_subscribe_messages=True) as heard:
        await heard.subscribe(CHANNEL)
        await heard.get_message(timeout=PATIENCE)
        await guest.run(guest.begin)
        await shop.accept(guest)
        await shop.redis.publish(CHANNEL, b"not committed")
        await guest.run(guest.commit)
        if not guest.tells:
            shop.outbox.ring()
        found = []
        async with asyncio.timeout(PATIENCE):
            while b"" not in found:
                if (message := await heard.get_message(timeout=PATIENCE)) is not None:  # 空的是它自己问的一声
                    found.append(message["data"])
    assert found == [b"not committed", b""]
    for done, key in enumerate((None, "customer 7")):
        with capture_logs() as logs:
            await guest.run(guest.begin)
            await shop.accept(guest, 2, key=key)
            await guest.run(guest.rollback)
            await guest.run(guest.begin)
            await shop.accept(guest, 3, key=key)
            assert await shop.numbers() == [1] + [3] * done
            assert told(logs) == 0
            await guest.run(guest.commit)
        assert await shop.numbers() == [1] + [3] * (done + 1)
        assert told(logs) == int(guest.tells)


async def test_a_request_again_is_the_first_task_and_what_was_joined_is_refused_once_its_transaction_is_over(
    shop: Shop, guest: Guest
) -> None:
    """同一个请求说的是别的，也回绝；回绝之后那个事务照常。SQLAlchemy 说得出是哪一个：已经另开了一个，也不算。"""
    await guest.run(guest.begin)
    first = await shop.accept(guest, 1, request_id="r", key="k")
    again = await shop.accept(guest, 1, request_id="r", key="k")
    assert (again.task_id, again.replayed, first.replayed) == (first.task_id, True, False)
    with pytest.raises(DomainError) as refused:
        await shop.accept(guest, 2, request_id="r", key="k")
    assert refused.value.code is Code.IDEMPOTENCY_KEY_REUSED
    await guest.run(lambda: guest.execute("create table own (n int)"))
    joined: Any = await guest.run(lambda: shop.outbox.within(guest.session))
    for number in (3, 4):
        await guest.run(partial(shop.send.accept, joined, Parcel(number=number)))
    await guest.run(guest.commit)
    if type(guest.session).__module__.startswith("sqlalchemy"):
        await guest.run(lambda: guest.execute("select 1"))
    with pytest.raises(RuntimeError, match=r"transaction is over.*这个事务已经结束"):
        await guest.run(lambda: shop.send.accept(joined, Parcel(number=5)))
    with pytest.raises(RuntimeError, match="transaction is over"):
        await guest.run(lambda: joined.after_commit(lambda: None))
    await guest.run(guest.begin)
    await shop.accept(guest, 6)
    await guest.run(guest.commit)
    assert await shop.numbers() == [1, 3, 4, 6]


@pytest.mark.parametrize("driver", ["psycopg", "psycopg, blocking", "asyncpg", "Django"])
async def test_outside_of_a_transaction_it_is_a_commit_of_its_own_and_told_at_once(
    shop: Shop, url: str, driver: str
) -> None:
    async with DRIVERS[driver](url) as guest:
        if isinstance(guest.session, psycopg.AsyncConnection | psycopg.Connection):
            await guest.run(lambda: guest.session.set_autocommit(True))
        with capture_logs() as logs:
            await shop.accept(guest, 1, key="k")
        assert (await shop.numbers(), told(logs)) == ([1], 1)


def test_only_what_a_session_commits_is_told_of_whatever_became_of_its_savepoints(shop: Shop, url: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=NullPool)

    def accept(session: Session, number: int) -> None:
        shop.send.accept(shop.outbox.within(session), Parcel(number=number))

    with Session(engine) as session, capture_logs() as logs:
        accept(session, 1)
        with suppress(ZeroDivisionError), session.begin_nested():
            accept(session, 2)
            _ = 1 / 0
        with session.begin_nested():
            accept(session, 3)
        assert told(logs) == 0
        session.commit()
        assert told(logs) == 2
        with suppress(ZeroDivisionError), session.begin_nested():
            with session.begin_nested():
                accept(session, 4)
            _ = 1 / 0
        session.commit()
        accept(session, 5)
        session.close()  # 一句话也没有
        session.execute(text("select 1"))
        session.commit()
        assert told(logs) == 2
    with psycopg.connect(url) as beside:
        cursor = beside.execute("select (payload ->> 'number')::int from shop.tb_task order by id")
        assert cursor.fetchall() == [(1,), (3,)]


async def test_two_who_accept_at_once_on_one_connection_are_both_taken_in(shop: Shop, url: str) -> None:
    """一个的语句在跑，另一个看不出在不在事务里：那不是完了。"""
    async with await AsyncConnection.connect(url) as own:
        await own.execute("select 1")
        joined = shop.outbox.within(own)
        assert own.info.transaction_status is TransactionStatus.INTRANS
        await asyncio.gather(*(shop.send.accept(joined, Parcel(number=number)) for number in (1, 2)))
    assert sorted(await shop.numbers()) == [1, 2]


async def test_a_transaction_of_another_outbox_is_refused(shop: Shop, settings: Settings, url: str) -> None:
    other = Outbox("other", database=url, redis=settings.redis.url.get_secret_value())
    async with DRIVERS["asyncpg"](url) as guest:
        with pytest.raises(TypeError, match="of shop"):
            await shop.send.accept(other.within(guest.session), Parcel(number=1))


async def test_what_the_database_refuses_it_refuses_in_words(shop: Shop, url: str) -> None:
    async with DRIVERS["asyncpg"](url) as guest:
        with pytest.raises(asyncpg.InvalidParameterValueError, match=r"tasks\[0\]\.request_id: 1 to 128 characters"):
            await shop.accept(guest, request_id="x" * 129)


def test_no_driver_of_a_guest_is_imported_before_he_has_one() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNIMPORTED], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert done.stdout.strip() == "[]"
