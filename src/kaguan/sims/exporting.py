"""把一个列表整个写出来：一页一页地取，每页另借一次连接，写给别人的时候什么也不占着。

不是一个时刻的照片：开始之后登记的不在其中，其余各是取到它那一刻的样子。
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from kaguan.database.engine import driver_of
from kaguan.database.paging import PageRequest
from kaguan.sims import history, store
from kaguan.sims.history import NEWEST, SimEvent
from kaguan.sims.store import SimFilter, SimRow
from kaguan.words.errors import invalid

EXPORT_MAX = 2_000_000  # 行；多少是估的，所以高过一个表格软件装得下的
PAGE = 500  # 行；一次取这么多

Borrow: TypeAlias = Callable[[], AbstractAsyncContextManager[AsyncConnection]]


async def cards(
    borrow: Borrow, request: PageRequest, wanted: SimFilter, most: int = EXPORT_MAX
) -> AsyncIterator[Sequence[SimRow]]:
    """符合 ``wanted`` 的卡，照 ``request`` 的次序与起点。

    Raises:
        DomainError: 1001，（约）多过 ``most``。
    """
    async with borrow() as connection:
        if await store.count_sims(connection, request, wanted) > most:
            raise invalid(
                "page_size",
                f"超过 {most:,} 张，请用条件或 since、until 分成几份",
                f"more than {most:,} cards: divide them by filters, or by since and until",
            )
    here = replace(request, page_size=PAGE)
    while True:
        async with borrow() as connection:
            rows, after = await store.list_rows(connection, here, wanted)
        yield rows
        if after is None:
            return
        here = replace(here, page=1, after=after)


async def events(borrow: Borrow, iccids: Sequence[str], before: int = NEWEST) -> AsyncIterator[Sequence[SimEvent]]:
    """这些 ICCID 的状态变更，新的在前。"""
    while True:
        async with borrow() as connection:
            rows = await history.events(await driver_of(connection), iccids, PAGE, before)
        yield rows
        if len(rows) < PAGE:
            return
        before = rows[-1].id
