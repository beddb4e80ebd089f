"""`kaguan sim` 背后的事：实体的 ``store`` 要 SQLAlchemy 的连接。"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TextIO, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from kaguan.audit.actions import SIM_REFRESH
from kaguan.audit.command_line import actor, audited
from kaguan.cli.configured import current_settings
from kaguan.cli.session import open_connection
from kaguan.database.engine import driver_of, engine_over
from kaguan.database.paging import PageRequest
from kaguan.database.pool import Connection, at_once
from kaguan.sims import exporting, history, service, sheet, store
from kaguan.sims.refreshing import refresh
from kaguan.sims.search import Found, find, texts_of
from kaguan.sims.service import Card
from kaguan.sims.store import SimRow
from kaguan.sims.vocabulary import Carrier, LifecycleState
from kaguan.words import spreadsheet

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """要列哪些卡；``text`` 是粘贴进来的几段号码。"""

    text: str | None
    carrier: Carrier | None
    state: LifecycleState | None
    plan: str | None
    group: str | None
    tag: str | None
    customer: str | None


@dataclass(frozen=True, slots=True)
class Listed:
    """列出的卡、合计约多少张、一张也没对上的那几段。"""

    cards: Sequence[SimRow]
    total: int
    missing: Sequence[str]


def list_cards(wanted: Wanted, limit: int) -> Listed:
    async def work(connection: AsyncConnection) -> Listed:
        found = await _found(connection, wanted)
        page = await store.list_sims(connection, PageRequest(page_size=limit), _filter(wanted, found))
        return Listed(page.items, page.total, [] if found is None else found.missing)

    return with_entities(work)


def write_cards(wanted: Wanted, out: TextIO) -> None:
    """全部，一页一页地写；列名与接口的字段相同。"""

    async def work(connection: AsyncConnection) -> None:
        where = _filter(wanted, await _found(connection, wanted))
        out.write(spreadsheet.write([[column.name for column in sheet.CARD]]))
        async for page in exporting.cards(lambda: nullcontext(connection), PageRequest(), where):
            out.write(spreadsheet.write(sheet.cells(sheet.CARD, row) for row in page))

    with_entities(work)


async def _found(connection: AsyncConnection, wanted: Wanted) -> Found | None:
    return None if wanted.text is None else await find(await driver_of(connection), texts_of(wanted.text))


def _filter(wanted: Wanted, found: Found | None) -> store.SimFilter:
    return store.SimFilter(
        wanted.carrier,
        wanted.state,
        plan=wanted.plan,
        group=wanted.group,
        customer=wanted.customer,
        tag=wanted.tag,
        ids=None if found is None else found.ids,
    )


def card(iccid: str) -> Card:
    return with_entities(lambda connection: service.get_card(connection, iccid))


def events_of(iccid: str, limit: int) -> list[history.SimEvent]:
    async def work(connection: AsyncConnection) -> list[history.SimEvent]:
        iccids = await service.numbers_of(connection, iccid)
        return await history.events(await driver_of(connection), iccids, limit)

    return with_entities(work)


def refresh_card(iccid: str) -> UUID:
    attempts = current_settings().tasks.max_attempts

    async def work(connection: AsyncConnection) -> UUID:
        driver = await driver_of(connection)
        done = await refresh(driver, iccid, actor(), attempts, at_once)
        await audited(driver, SIM_REFRESH, done.iccid, task_id=str(done.accepted.task_id))
        return done.accepted.task_id

    return with_entities(work)


def with_entities(work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """连上数据库做一件事，给的是实体的 ``store`` 用的那种连接；整件事一个事务。"""
    settings = current_settings()

    async def run() -> T:
        async with open_connection(settings) as connection:

            async def lend() -> Connection:
                await connection.set_autocommit(False)
                return connection

            async with engine_over(lend).begin() as opened:
                return await work(opened)

    return asyncio.run(run())
