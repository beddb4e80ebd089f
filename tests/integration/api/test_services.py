"""服务层与存取层自己的规则，不经 HTTP：连接、发件箱、提交之后的事都由参数给，何时提交由调用者定。"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kaguan.database.engine import engine_on
from kaguan.database.paging import PageRequest
from kaguan.database.pool import Pool
from kaguan.mail.staging import MailOutbox
from kaguan.orders import service as orders
from kaguan.orders import store as order_store
from kaguan.orders.model import OrderStatus
from kaguan.orders.service import NewOrder, OrderChange
from kaguan.sims import service as sims
from kaguan.sims.iccid import with_check_digit
from kaguan.sims.service import NewSim, Registered
from kaguan.sims.vocabulary import Carrier
from kaguan.users import service as users
from kaguan.users import store as user_store
from kaguan.users.model import UserStatus
from kaguan.users.service import NewUser, UserChange
from kaguan.words.errors import Code, DomainError
from kaguan.words.language import Language

ZHANG = NewUser("zhang.san", "zhang@example.com", "hash")
ICCIDS = [with_check_digit(f"898600{n:013d}") for n in range(2)]
MAILS = "select payload->>'subject', principal, max_attempts from vw_task order by id"
COUNTS = """
select (select count(*) from tb_user),
       (select count(*) from tb_outbox o join vw_task t on t.id = o.task_id and t.delivery = o.delivery)
"""


class Caller:
    """一个调用者：以 ``name`` 的名义，``done`` 是它提交之后要做的事。"""

    def __init__(self, name: str = "caller", language: Language = "zh") -> None:
        self.done: list[Callable[[], None]] = []
        self.mails = MailOutbox(name, 3, self.done.append, language)


@pytest.fixture
async def engine(pool: Pool) -> AsyncIterator[AsyncEngine]:
    engine = engine_on(pool)
    yield engine
    await engine.dispose()


@asynccontextmanager
async def refused(engine: AsyncEngine, code: Code, *fields: str) -> AsyncIterator[AsyncConnection]:
    """块里的事务以 ``code`` 被拒而回滚。"""
    with pytest.raises(DomainError) as refusal:
        async with engine.begin() as connection:
            yield connection
    assert (refusal.value.code, [field.field for field in refusal.value.fields]) == (code, list(fields))


async def rows(engine: AsyncEngine, query: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(query))]


async def test_a_user_and_its_welcome_mail_are_there_together_or_not_at_all(engine: AsyncEngine) -> None:
    given_up, kept = Caller("first"), Caller("second", "en")
    async with engine.connect() as connection:
        await users.create_user(connection, ZHANG, given_up.mails)
        await connection.rollback()
    assert await rows(engine, COUNTS) == [(0, 0)]
    async with engine.begin() as connection:
        created = await users.create_user(connection, ZHANG, kept.mails)
        assert await rows(engine, "select count(*) from tb_user") == [(0,)]  # 提交是调用者的事
    assert await rows(engine, COUNTS) == [(1, 1)]
    assert await rows(engine, "select id from vw_task") == [(created.welcome_task,)]
    # 名义、次数、语言是各自传进来的，两个调用者互不相干
    assert await rows(engine, MAILS) == [("Welcome to kaguan, zhang.san", "second", 3)]
    assert len(given_up.done) == len(kept.done) == 2


async def test_a_name_and_an_address_are_one_user_s_until_it_is_deleted(engine: AsyncEngine) -> None:
    caller = Caller()
    async with engine.begin() as connection:
        zhang = (await users.create_user(connection, ZHANG, caller.mails)).user
        li = (await users.create_user(connection, NewUser("li.si", "li@example.com", "hash"), caller.mails)).user
    for taken, field in (
        (NewUser("ZHANG.San", "x@example.com", "h"), "username"),
        (NewUser("wang", "Zhang@Example.com", "h"), "email"),
    ):
        async with refused(engine, Code.CONFLICT, field) as connection:
            await users.create_user(connection, taken, caller.mails)
    async with refused(engine, Code.CONFLICT, "email") as connection:
        await users.update_user(connection, li.id, UserChange(email="zhang@example.com"), None, caller.done.append)
    async with engine.begin() as connection:
        await users.delete_user(connection, zhang.id, 1, caller.done.append)
        moved = await users.update_user(
            connection, li.id, UserChange(email="zhang@example.com"), None, caller.done.append
        )
    assert (moved.email, moved.version) == ("zhang@example.com", 2)
    assert await rows(engine, "select count(*) from vw_task") == [(2,)]  # 被拒的三次没有信


async def test_a_change_wants_the_version_seen_and_a_row_that_is_not_deleted(engine: AsyncEngine) -> None:
    caller = Caller()
    async with engine.begin() as connection:
        user_id = (await users.create_user(connection, ZHANG, caller.mails)).user.id
        banned = await users.update_user(
            connection, user_id, UserChange(status=UserStatus.BANNED), 1, caller.done.append
        )
        assert (banned.status, banned.version) == (UserStatus.BANNED, 2)
    async with refused(engine, Code.PRECONDITION_FAILED) as connection:
        await users.update_user(connection, user_id, UserChange(password_hash="x"), 1, caller.done.append)
    async with refused(engine, Code.PRECONDITION_FAILED) as connection:
        await users.delete_user(connection, user_id, 1, caller.done.append)
    async with engine.begin() as connection:
        await users.delete_user(connection, user_id, 2, caller.done.append)
        assert await user_store.lock_user(connection, user_id) is None
        assert (await user_store.list_users(connection, PageRequest(), user_store.UserFilter())).total == 0
    async with refused(engine, Code.NOT_FOUND) as connection:
        await users.get_user(connection, user_id)
    assert await rows(engine, "select password_hash, version from tb_user") == [("hash", 3)]  # 行留着


async def test_an_order_moves_along_its_states_and_each_move_has_its_mail(engine: AsyncEngine) -> None:
    caller = Caller(language="en")
    async with engine.begin() as connection:
        placed = await orders.create_order_with_user(connection, ZHANG, NewOrder(5, "CNY", "A-1"), caller.mails)
        order_key = placed.order.id
        for status in (OrderStatus.PAID, OrderStatus.PROCESSING, OrderStatus.COMPLETED):
            moved = await orders.update_order(connection, order_key, OrderChange(status), None, caller.mails)
    assert (moved.status, moved.version) == (OrderStatus.COMPLETED, 4)
    for wanted in OrderStatus:
        async with refused(engine, Code.CONFLICT, "status") as connection:
            await orders.update_order(connection, order_key, OrderChange(wanted), None, caller.mails)
    async with engine.begin() as connection:
        noted = await orders.update_order(
            connection, order_key, OrderChange(remark="x", sets_remark=True), 4, caller.mails
        )
        assert (noted.remark, noted.version) == ("x", 5)
    assert len(await rows(engine, MAILS)) == 5  # 欢迎、下单、三次迁移；备注与被拒的没有


async def test_an_order_number_is_free_again_once_its_order_is_deleted(engine: AsyncEngine) -> None:
    caller, new = Caller(), NewOrder(5, "CNY", "A-1")
    async with engine.begin() as connection:
        placed = await orders.create_order_with_user(connection, ZHANG, new, caller.mails)
    async with refused(engine, Code.CONFLICT, "order_id") as connection:
        await orders.create_order(connection, placed.order.user_id, new, caller.mails)
    async with refused(engine, Code.CONFLICT, "order_id") as connection:  # 新用户随订单一起退回
        await orders.create_order_with_user(connection, NewUser("li.si", "li@example.com", "h"), new, caller.mails)
    async with refused(engine, Code.NOT_FOUND) as connection:
        await orders.create_order(connection, placed.order.user_id + 9, NewOrder(1, "CNY"), caller.mails)
    async with refused(engine, Code.PRECONDITION_FAILED) as connection:
        await orders.delete_order(connection, placed.order.id, 2, caller.done.append)
    async with engine.begin() as connection:
        await orders.delete_order(connection, placed.order.id, 1, caller.done.append)
        again = await orders.create_order(connection, placed.order.user_id, new, caller.mails)
        found = await order_store.list_orders(
            connection, PageRequest(), order_store.OrderFilter(placed.order.user_id, OrderStatus.PENDING, "A-1")
        )
    assert [order.id for order in found.items] == [again.order.id]
    assert await rows(engine, "select count(*) from tb_user") == [(1,)]


async def test_cards_are_answered_one_by_one_and_come_and_go_with_their_transaction(engine: AsyncEngine) -> None:
    caller = Caller()
    batch = [NewSim(iccid, Carrier.ONELINK) for iccid in (*ICCIDS, ICCIDS[0], "no card")]
    batch.append(NewSim(ICCIDS[1], Carrier.ONELINK, msisdn="12-34"))
    async with engine.connect() as connection:
        answers = await sims.register_sims(connection, batch, caller.done.append)
        await connection.rollback()
    assert [answer.outcome for answer in answers] == [
        Registered.CREATED,
        Registered.CREATED,
        Registered.CONFLICT,
        Registered.INVALID,
        Registered.INVALID,
    ]
    async with engine.begin() as connection:
        again = await sims.register_sims(connection, batch, caller.done.append)
    assert [answer.outcome for answer in again] == [answer.outcome for answer in answers]  # 回滚的没有留下
    async with refused(engine, Code.INVALID_PARAMETERS, "imsi") as connection:
        await sims.update_sim(connection, ICCIDS[0], {"imsi": "1"}, None, caller.done.append)
    async with refused(engine, Code.PRECONDITION_FAILED) as connection:
        await sims.update_sim(connection, ICCIDS[0], {"remark": "x"}, 2, caller.done.append)
    async with engine.begin() as connection:
        assert await sims.delete_sim(connection, f"{ICCIDS[0]}F", 1, caller.done.append) == ICCIDS[0]
    async with refused(engine, Code.NOT_FOUND) as connection:
        await sims.get_sim(connection, ICCIDS[0])
    async with engine.begin() as connection:
        [back] = await sims.register_sims(connection, batch[:1], caller.done.append)
    assert back.outcome is Registered.CREATED
