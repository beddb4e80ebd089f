"""按运营商的变更列表取状态：翻页途中列表在变，也一张不漏。

列表按页码翻，而途中再变更的卡会离开原位，后面的卡各前移一位：往前翻就会跳过它们。所以**从末页往回翻**，
并把时间窗的右端钉在开始的时刻：窗里的卡只会少、不会多，移动只会让卡从看过的页滑进没看的页（重复无妨，写入是幂等的）。
离开时间窗的卡是途中变更的，由第二遍补上：从第一遍的右端（退回 ``OVERLAP``，容两边的钟差）看到此刻。
第二遍途中再变更的，属于下一次同步。所要的末日已经过去时没有第二遍：途中变更的已不在所要的日子里。
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, datetime, time, timedelta

from pydantic import BaseModel, ConfigDict

from kaguan.carriers.gateway import CarrierGateway, Page
from kaguan.words.zones import BUSINESS_ZONE

OVERLAP = timedelta(minutes=5)
OPEN_END = timedelta(days=1)  # 第二遍的右端放得够远：对方的钟快一些也看得到


class Position(BaseModel):
    """走到哪里，存在检查点的 ``cursor`` 里。

    ``page`` 是下一个要看的页，0 是还没找过末页；``end`` 是所要的日子到哪一刻为止，不含。
    """

    model_config = ConfigDict(frozen=True)

    since: datetime
    until: datetime
    started: datetime
    end: datetime
    page: int = 0
    second: bool = False

    @classmethod
    def of(cls, cursor: str | None, first: date, last: date, now: datetime) -> Position:
        """从检查点接着走；没有就从 ``first`` 零点起，到 ``last`` 那天过完为止，至多到此刻。"""
        if cursor is not None:
            return cls.model_validate_json(cursor)
        end = _midnight(last + timedelta(days=1))
        return cls(since=_midnight(first), until=min(now, end), started=now, end=end)

    def after(self, page: int, now: datetime) -> Position | None:
        """看完第 ``page`` 页之后；``None`` 是全看完了。"""
        if page > 1:
            return self.model_copy(update={"page": page - 1})
        if self.second or self.until == self.end:
            return None
        until = min(now + OPEN_END, self.end)
        since = max(self.since, self.started - OVERLAP)
        return Position(since=since, until=until, started=now, second=True, end=self.end)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), BUSINESS_ZONE)


async def next_page(gateway: CarrierGateway, position: Position) -> tuple[int, Page]:
    """要看的那一页，与它的页码；还没找过末页就先找。

    Raises:
        CarrierError: 问不成。
    """

    async def read(page: int) -> Page:
        return await gateway.changed_between(position.since, position.until, page)

    if position.page:
        return position.page, await read(position.page)
    return await _last(read)


async def _last(read: Callable[[int], Awaitable[Page]]) -> tuple[int, Page]:
    """末页：先翻倍再对半，约 2·log₂ 次。列表途中变短，找到的也许已空，无妨：往回翻总会看到全部。"""
    low, page = 1, await read(1)
    if page.last:
        return 1, page
    high = 2
    while not (page := await read(high)).last:
        low, high = high, high * 2
    found = high, page
    while high - low > 1:  # low 不是末页，high 是末页或更后
        middle = (low + high) // 2
        page = await read(middle)
        if page.last:
            high = middle
            found = middle, page
        else:
            low = middle
    return found
