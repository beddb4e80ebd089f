"""合并提交：并发到来的受理折成一条多行语句、一次 COMMIT；折叠失败则逐个重来，坏的一行只害它自己。"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kaguan.database.group_commit import one_by_one
from kaguan.database.pool import is_away
from kaguan.outbox.accept import Accepted, Staged, Submission, accept, accept_staged
from kaguan.telemetry.spans import accept_span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from kaguan.database.pool import Pool

PATIENCE = 0.02  # 秒；一批写得比这更久（等锁、磁盘慢），备用道才接手，平时一条道批次更大、更省
FOLD_LIMIT = 200  # 一条语句至多这么多行
FOLD_BYTES = 4 * 1024 * 1024  # 或载荷共这么多字节：大附件不与小邮件挤在一条语句里


@dataclass(slots=True)
class _Waiting:
    staged: Staged
    answer: asyncio.Future[Accepted]

    def settle(self, outcome: Accepted | BaseException) -> None:
        # 请求可能已经断开
        if self.answer.done():
            return
        if isinstance(outcome, BaseException):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


@dataclass(slots=True)
class FoldedAccept:
    """受理的合并器，一个进程一个。没有并发时不多等：空闲的道立刻动手。"""

    pool: Pool
    max_attempts: int
    _queue: deque[_Waiting] = field(default_factory=deque)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _slow: asyncio.Event = field(default_factory=asyncio.Event)

    async def accept(self, submission: Submission) -> Accepted:
        """受理一个任务；返回时已提交。

        Raises:
            DomainError: ``request_id`` 已用于内容不同的任务。
            psycopg.Error: 数据库出错；什么也没写（或结局不明，同 request_id 再交即可）。
        """
        if submission.ordering_key is not None:
            return await self._accept_alone(submission)
        return await self._put(submission)

    def _put(self, submission: Submission) -> asyncio.Future[Accepted]:
        """排进去。等的人手里不留 ``waiting``：它的答案若是错误，错误的栈帧又指着它，十几 MB 的载荷就要等垃圾回收。"""
        waiting = _Waiting(Staged.of(submission), asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._ready.set()
        return waiting.answer

    async def _accept_alone(self, submission: Submission) -> Accepted:
        """有序的要锁住它的键，不与别人合并：谁也不该等它的锁。"""
        async with self.pool.connection() as connection:
            return await accept(connection, submission, self.max_attempts)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FoldedAccept]:
        """开几条道在后台收写，离开时停下。须在没有请求上下文的地方进入。"""
        lanes = [
            asyncio.create_task(self._main_lane(), name="fold"),
            asyncio.create_task(self._spare_lane(), name="fold-spare"),
        ]
        try:
            yield self
        finally:
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)

    async def _main_lane(self) -> None:
        """一批写着，后到的攒成下一批。"""
        loop = asyncio.get_running_loop()
        while True:
            await self._ready.wait()
            late = loop.call_later(PATIENCE, self._slow.set)
            try:
                await self._write_next()
            finally:
                late.cancel()
                self._slow.clear()

    async def _spare_lane(self) -> None:
        """主道卡住时替它写，不让后到的跟着等。"""
        while True:
            await self._slow.wait()
            await self._ready.wait()
            if self._slow.is_set():
                await self._write_next()

    async def _write_next(self) -> None:
        batch = self._take()
        if batch:
            await self._write(batch)
        else:
            self._ready.clear()

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._queue and len(batch) < FOLD_LIMIT and (not batch or size < FOLD_BYTES):
            waiting = self._queue.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
                size += len(waiting.staged.payload)
        return batch

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        try:
            with accept_span([item.staged.creation for item in batch]):
                async with self.pool.connection() as connection:
                    outcomes = await accept_staged(connection, [item.staged for item in batch], self.max_attempts)
        except asyncio.CancelledError:
            for item in batch:
                item.answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 道死了就没有人写了：什么错都只算在这一批头上
            if len(batch) == 1 or is_away(error):
                self._fail(batch, error)
            else:
                await one_by_one(batch, self._write)
            return
        for item, outcome in zip(batch, outcomes, strict=True):
            item.settle(outcome)

    @staticmethod
    def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
        for item in batch:
            item.settle(error)
