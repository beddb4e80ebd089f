"""合并提交：并发到来的小写入合成一条多行语句、一次提交。空闲时不多等；合并失败则逐个重来，坏的一个只害它自己。"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from psycopg.errors import QueryCanceled

from kaguan.database.pool import Connection, Pool, is_away

Item = TypeVar("Item")
Answer = TypeVar("Answer")

LANES = 2  # 一条在等 COMMIT 时另一条收下一批；再多只会把批次切碎
MAX_ROWS = 200  # 一条语句至多这么多行
MEMORY = 0.2  # 秒：到达率记得这么久
LONGEST = 0.01  # 秒
AWAITED = 0.005  # 秒：有人等着的，来得再密也至多凑这么久
PER_RATE = 20e-6  # 每秒来一个，多凑这么多秒：每秒 200 个凑 4 毫秒，500 个凑 10 毫秒
SPARSE = 100.0  # 个每秒：再稀就等不来第二个，不等
TIMEOUT = 10.0  # 秒：一条语句连同等连接；对方不答时只有它能脱身


@dataclass(slots=True)
class Gathering:
    """一处凑批的节拍。``longest`` 是最多凑几秒；钟是事件循环的。"""

    longest: float = LONGEST
    _rate: float = 0.0  # 个每秒
    _took_at: float = -math.inf

    def pause(self, now: float) -> float:
        """离收下一批还有几秒；闲了之后的头一个不等。"""
        return max(0.0, self._took_at + self._gap - now)

    def took(self, count: int, now: float) -> float:
        """此刻收走了 ``count`` 个；返回收下一批至少要隔几秒。"""
        past = max(now - self._took_at, 1e-6)
        kept = math.exp(-past / MEMORY)
        self._rate = kept * self._rate + (1 - kept) * count / past
        self._took_at = now
        return self._gap

    @property
    def _gap(self) -> float:
        return min(self.longest, self._rate * PER_RATE) if self._rate > SPARSE else 0.0


@dataclass(slots=True)
class _Waiting(Generic[Item, Answer]):
    item: Item
    since: float
    answer: asyncio.Future[Answer]

    def settle(self, answer: Answer | Exception) -> None:
        if self.answer.done():  # 等它的人可能已经走了
            return
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)


def _weightless(_item: object) -> int:
    return 0


def _plainly(_items: object) -> AbstractContextManager[object]:
    return nullcontext()


@dataclass(slots=True)
class GroupCommit(Generic[Item, Answer]):
    """合并器，一种写入一个。

    Attributes:
        execute: 一次写一批，答案的次序与输入相同，异常是那一项的答案；每批一个自动提交的连接。
        patience: 头一条道写了这么多秒还没完，备用道才接手，批次因此更大；0 = 随时两条道。
        max_bytes: 一批至多这么多字节，按 ``size`` 算；单独一项可以更大。
        around: 每批写入的外面，例如一个跨度。
        gathering: 凑批的节拍；不给就不等。
        timeout: 一批连同等连接，至多这么多秒。
        within: 拿到连接之后，一批至多这么多秒；不给就只有 ``timeout``。
    """

    pool: Pool
    execute: Callable[[Connection, Sequence[Item]], Awaitable[Sequence[Answer | Exception]]]
    patience: float = 0.0
    max_bytes: int = 0
    size: Callable[[Item], int] = _weightless
    around: Callable[[Sequence[Item]], AbstractContextManager[object]] = _plainly
    gathering: Gathering = field(default_factory=lambda: Gathering(0.0))
    timeout: float = TIMEOUT
    within: float | None = None
    _queue: deque[_Waiting[Item, Answer]] = field(default_factory=deque)
    _lanes: set[asyncio.Task[Any] | None] = field(default_factory=set)
    _late: asyncio.TimerHandle | None = None

    def submit(self, item: Item) -> asyncio.Future[Answer]:
        """写一个；等到的时候已提交。

        Raises:
            psycopg.Error: 数据库出错；没有写，或不知道写了没有。
            TimeoutError: 超过 ``timeout``，不知道写了没有。
        """
        loop = asyncio.get_running_loop()
        waiting: _Waiting[Item, Answer] = _Waiting(item, loop.time(), loop.create_future())
        self._queue.append(waiting)
        if not self._lanes or (self.patience == 0 and len(self._lanes) < LANES):
            self._start_committing()
        elif len(self._lanes) < LANES and self._late is None:
            self._late = loop.call_later(self.patience, self._relieve)
        return waiting.answer

    def _start_committing(self) -> None:
        # 独立的任务、空的上下文：不随某一个提交者取消，也不挂在它的跟踪与日志字段上
        lane = asyncio.get_running_loop().create_task(self._committing(self._gathered()), context=Context())
        self._lanes.add(lane)
        lane.add_done_callback(self._lanes.discard)  # 意外死了的

    def _relieve(self) -> None:
        """排在最前的等够了就加一条道；主道刚收走它、后来的还没等够，就到时再看。"""
        self._late = None
        if not self._queue or len(self._lanes) >= LANES:
            return
        loop = asyncio.get_running_loop()
        due = self._queue[0].since + self.patience
        if due <= loop.time():
            self._start_committing()
        else:
            self._late = loop.call_at(due, self._relieve)

    def _gathered(self) -> Iterator[list[_Waiting[Item, Answer]]]:
        """排着的，一批批收走，收到没有为止；等它的人走了的不算。还没凑够的先给一个空批，等它的人再来收。"""
        clock = asyncio.get_running_loop().time
        while self._queue:
            if self.gathering.pause(clock()):
                yield []
                continue
            batch: list[_Waiting[Item, Answer]] = []
            size = 0
            while self._queue and len(batch) < MAX_ROWS:
                waiting = self._queue[0]
                if not waiting.answer.done():
                    size += self.size(waiting.item)
                    if batch and size > self.max_bytes > 0:
                        break
                    batch.append(waiting)
                self._queue.popleft()
            if batch:
                self.gathering.took(len(batch), clock())
                yield batch
        # 看到没有了就算收工：晚到事件循环的下一圈，恰在其间来的就没有人收
        self._lanes.discard(asyncio.current_task())

    async def _committing(self, batches: Iterator[Sequence[_Waiting[Item, Answer]]]) -> None:
        """一批一条语句、一次提交；一批做不成就逐个重来。"""
        clock = asyncio.get_running_loop().time
        for batch in batches:
            if not batch:
                await asyncio.sleep(self.gathering.pause(clock()))  # 到点的事，没有可等的条件
                continue
            items = [waiting.item for waiting in batch]
            try:
                async with (
                    asyncio.timeout(self.timeout),
                    self.pool.connection() as connection,
                    asyncio.timeout(self.within),
                ):
                    with self.around(items):
                        answers = await self.execute(connection, items)
            except asyncio.CancelledError:
                for waiting in batch:
                    waiting.answer.cancel()
                raise
            except Exception as error:  # noqa: BLE001 什么错都要告诉等它的人，道不能死
                if len(batch) > 1 and not is_away(error):
                    await self._one_by_one(batch)
                    continue
                for waiting in batch:
                    waiting.settle(error)
            else:
                for waiting, answer in zip(batch, answers, strict=True):
                    waiting.settle(answer)

    async def _one_by_one(self, batch: Sequence[_Waiting[Item, Answer]]) -> None:
        """逐个重来，两个一起：一行在等锁，别的不必都排在它后面。

        单独一个也超过语句时限、或数据库不在了，余下的一并失败：不把一次超时变成几百次。
        """
        rest = iter(batch)

        def singly() -> Iterator[list[_Waiting[Item, Answer]]]:
            for waiting in rest:
                if waiting.answer.done():
                    continue
                yield [waiting]
                error = _hopeless(waiting.answer)
                if error is not None:
                    for left in rest:
                        left.settle(error)

        try:
            await asyncio.gather(self._committing(singly()), self._committing(singly()))
        finally:
            for waiting in batch:  # 停机：没轮到的不再写
                waiting.answer.cancel()


def _hopeless(answer: asyncio.Future[Answer]) -> Exception | None:
    """答案是别的行此刻多半也做不成的错误。"""
    error = answer.exception() if answer.done() and not answer.cancelled() else None
    return error if isinstance(error, Exception) and (isinstance(error, QueryCanceled) or is_away(error)) else None
