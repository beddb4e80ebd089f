"""折叠：并发到来的小写入合成一条多行语句、一次提交。空闲时不多等；折叠失败则逐个重来，坏的一个只害它自己。"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from psycopg.errors import QueryCanceled

from kaguan.database.pool import is_away

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from kaguan.database.pool import Connection, Pool

Item = TypeVar("Item")
Answer = TypeVar("Answer")

LANES = 2  # 一条在等 COMMIT 时另一条收下一批；再多只会把批次切碎
LIMIT = 200  # 一条语句至多这么多行
TIMEOUT = 10.0  # 秒：一条语句连同等连接；对方不答时只有它能脱身


@dataclass(slots=True)
class _Waiting(Generic[Item, Answer]):
    item: Item
    answer: asyncio.Future[Answer]

    def settle(self, answer: Answer) -> None:
        if not self.answer.done():  # 等它的人可能已经走了
            self.answer.set_result(answer)

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Pending(Protocol):
    """等着答案的一项。"""

    @property
    def answer(self) -> asyncio.Future[Any]: ...


PendingItem = TypeVar("PendingItem", bound=Pending)


async def one_by_one(batch: Sequence[PendingItem], write: Callable[[list[PendingItem]], Awaitable[None]]) -> None:
    """逐个重来，两个一起：一行在等锁，别的不必都排在它后面。

    单独一个也超过语句时限、或数据库不在了，余下的一并失败：不把一次超时变成几百次。
    """
    rest = iter(batch)

    async def lane() -> None:
        for item in rest:
            if item.answer.done():
                continue
            await write([item])
            error = _hopeless(item.answer)
            if error is not None:
                for left in rest:
                    if not left.answer.done():
                        left.answer.set_exception(error)

    try:
        await asyncio.gather(lane(), lane())
    finally:
        for item in batch:  # 停机：没轮到的不再写
            item.answer.cancel()


def _hopeless(answer: asyncio.Future[Any]) -> Exception | None:
    """答案是别的行此刻多半也做不成的错误。"""
    error = answer.exception() if answer.done() and not answer.cancelled() else None
    return error if isinstance(error, Exception) and (isinstance(error, QueryCanceled) or is_away(error)) else None


@dataclass(slots=True)
class Folder(Generic[Item, Answer]):
    """``write`` 一次写一批，答案的次序与输入相同；每批一个自动提交的连接。"""

    pool: Pool
    write: Callable[[Connection, Sequence[Item]], Awaitable[Sequence[Answer]]]
    _queue: deque[_Waiting[Item, Answer]] = field(default_factory=deque)
    _lanes: set[asyncio.Task[None]] = field(default_factory=set)

    async def submit(self, item: Item) -> Answer:
        """写一个；返回时已提交。

        Raises:
            psycopg.Error: 数据库出错；没有写，或不知道写了没有。
            TimeoutError: 超过 :data:`TIMEOUT`，不知道写了没有。
        """
        return await self._put(item)

    def _put(self, item: Item) -> asyncio.Future[Answer]:
        waiting: _Waiting[Item, Answer] = _Waiting(item, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if len(self._lanes) < LANES:
            # 独立的任务、空的上下文：不随某一个提交者取消，也不挂在它的跟踪与日志字段上
            lane = asyncio.get_running_loop().create_task(self._lane(), context=Context())
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)
        return waiting.answer

    async def _lane(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(LIMIT, len(self._queue)))]
            batch = [waiting for waiting in batch if not waiting.answer.done()]
            if batch:
                await self._fold(batch)

    async def _fold(self, batch: Sequence[_Waiting[Item, Answer]]) -> None:
        try:
            async with asyncio.timeout(TIMEOUT), self.pool.connection() as connection:
                answers = await self.write(connection, [waiting.item for waiting in batch])
        except asyncio.CancelledError:
            for waiting in batch:
                waiting.answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 什么错都要告诉等它的人，道不能死
            if len(batch) > 1 and not is_away(error):
                await one_by_one(batch, self._fold)
                return
            for waiting in batch:
                waiting.fail(error)
        else:
            for waiting, answer in zip(batch, answers, strict=True):
                waiting.settle(answer)
