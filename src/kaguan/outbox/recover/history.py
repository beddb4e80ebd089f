"""PostgreSQL 的历史断没断：它每启动一次（主备切换、恢复、退回旧的数据目录都是）核对一次，核对完才许认领与交出。

断了：也许做过的外部调用记为不明，已交出的全部重投，然后认下新的历史。中途死了，下一个 relay 从头再来，做过的不再做。
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from redis.asyncio import Redis

from kaguan.database.pool import Pool
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.order import ordering
from kaguan.outbox.recover import gate, store
from kaguan.outbox.recover.calls import Calls
from kaguan.outbox.recover.gate import SKEW, Mark, Recorded, Server
from kaguan.outbox.recover.redrive import names_of
from kaguan.outbox.recover.vanished import Vanishing
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.vocabulary import FIRST_ID, TaskStatus
from kaguan.queues import keys
from kaguan.queues.believing import refused
from kaguan.queues.foreign import replace_foreign
from kaguan.words.log import get_logger

log = get_logger(__name__)

CAUSE = "history_cut"
PAGE = 1_000
# Redis 里抄的水位平常至多旧一两秒；旧得比这还多，Redis 也被退回去过，它记着的外部调用就不全
STALE = timedelta(seconds=10)


@dataclass(slots=True)
class HistoryCheck:
    """比对与核对；``heard`` 是转交的门铃，``lag`` 是隔多久比对一次，秒。"""

    pool: Pool
    redis: Redis
    calls: Calls
    types: TaskTypes
    metrics: Metrics
    vanishing: Vanishing
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    lag: float = 1.0
    _seen: Recorded | None = None  # 上一次看到的，认过的

    async def run_alone(self, recorded: Recorded) -> int:
        """Redis 不在，只看 PostgreSQL 自己：平常的重启照样开门，做完的写得进，人的要求有人答。

        没有抄在外面的水位，就要自己先前看到过：同一段历史，交到的也不比那时早。别的等 Redis 回来。
        """
        seen = self._seen
        if recorded.is_open or seen is None or (recorded.lineage, recorded.history) != (seen.lineage, seen.history):
            return 0
        async with self.pool.connection() as connection:
            here = await gate.server(connection)
            if here.history != recorded.history or recorded.watermark < seen.watermark:
                return 0
            if await gate.open_gate(connection, here, None):
                log.info("PostgreSQL 重启过，历史没有断；Redis 不在，照样恢复认领")
        self.metrics.claims_stopped.set(0)
        return 0

    async def run_once(self, recorded: Recorded, value: bytes | None, *, same_redis: bool) -> int:
        """比对一次；``value`` 是先于 ``recorded`` 读到的水位，``same_redis``：Redis 没有丢过数据。返回重投的个数。"""
        mark = Mark.read(value, recorded.seal)
        if mark is None or mark.lineage != recorded.lineage or mark.watermark > recorded.now + SKEW:
            if value is not None and recorded.lineage is not None:
                refused(self.redis, keys.WATERMARK)
            mark = None
        is_behind = mark is not None and mark.watermark > recorded.watermark
        self.metrics.claims_stopped.set(float(is_behind or not (recorded.fresh or recorded.is_open)))
        if is_behind or not recorded.is_open:
            return await self._look(recorded, mark, is_behind=is_behind, same_redis=same_redis)
        self._seen = recorded
        if recorded.lineage is not None and (mark is None or mark.watermark < recorded.watermark):
            mark = Mark(recorded.lineage, recorded.watermark)
            await self.redis.set(keys.key(self.redis, keys.WATERMARK), mark.sealed(recorded.seal))
        return 0

    async def _look(self, recorded: Recorded, mark: Mark | None, *, is_behind: bool, same_redis: bool) -> int:
        """这一次启动还没有认过，或水位退回去了：断没断，断了就核对。"""
        async with self.pool.connection() as connection:
            here = await gate.server(connection)
            is_cut = is_behind or recorded.history not in {None, here.history}
            if is_cut and recorded.is_open:
                await gate.close_gate(connection)
        count = await self._reconcile(recorded, here, mark, same_redis=same_redis) if is_cut else 0
        async with self.pool.connection() as connection:
            is_ours = await gate.open_gate(connection, here, mark.watermark if mark and is_behind else None)
        self.metrics.claims_stopped.set(0)
        if is_cut and is_ours:
            log.warning("历史核对完，恢复认领", count=count)
            self.metrics.history_cuts.inc()
        self.heard.set()
        return count

    async def _reconcile(self, recorded: Recorded, here: Server, mark: Mark | None, *, same_redis: bool) -> int:
        is_trusted = mark is not None and same_redis and await self._is_complete(recorded, mark)
        log.error(
            "PostgreSQL 的历史断了：也许丢了最近的提交。停下认领，核对",
            was=recorded.history, now=here.history, watermark=recorded.watermark.isoformat(),
            mirrored=mark and mark.watermark.isoformat(), calls_trusted=is_trusted,
        )  # fmt: skip
        async for page in self.calls.pages(recorded.seal) if is_trusted else self._due(here):
            await self._doubt(here, page)
            if is_trusted:
                await self._name_vanished(page)
        total = 0
        while True:
            async with self.pool.connection() as connection, connection.transaction():
                if not await gate.still_closed(connection, here):
                    return total
                lost = await store.lost_epoch(connection, here.now + SKEW, PAGE)
                moved = await store.redrive(connection, lost, CAUSE, while_closed=True)
            total += moved
            self.metrics.redriven.labels(cause=CAUSE).inc(moved)
            if len(lost) < PAGE and moved == len(lost):
                return total
            if not moved:
                raise TimeoutError  # 都被人锁着：过一会儿从头再来

    async def _is_complete(self, recorded: Recorded, mark: Mark) -> bool:
        """断开之后记下的外部调用都还在：Redis 没有被退回去，删去的都早于断开之处。"""
        if await replace_foreign(self.redis):
            return False
        trimmed = await self.calls.trimmed()
        is_current = mark.watermark >= recorded.watermark - STALE - timedelta(seconds=self.lag)
        return is_current and (trimmed is None or trimmed + SKEW.total_seconds() < recorded.watermark.timestamp())

    async def _due(self, here: Server) -> AsyncIterator[list[tuple[UUID, int]]]:
        """记着的不全：到期的、不能重做的都疑。"""
        after: UUID | None = FIRST_ID
        while after is not None:
            async with self.pool.connection() as connection:
                page, after = await gate.doubtful_due(connection, self.types.once, here.now + SKEW, after, PAGE)
            yield page

    async def _name_vanished(self, page: list[tuple[UUID, int]]) -> None:
        """记着外部调用、连任务都忘了的：投递也许已做完，不会再有 worker 碰上它。哪一种没有记，只有收不回的几种。"""
        task_type = "|".join(self.types.once)
        self.metrics.vanished.labels(task_type).inc(await self.vanishing.note(task_type, page, {}))

    async def _doubt(self, here: Server, page: list[tuple[UUID, int]]) -> None:
        async with self.pool.connection() as connection, connection.transaction():
            if not await gate.still_closed(connection, here):
                return
            doubted = await gate.doubt(connection, page, self.types.redelivered)
            ended = [task for task in doubted if task.verdict == TaskStatus.UNCERTAIN]
            if ended:
                await ordering.release(connection, [task.id for task in ended])
        if doubted:
            log.warning("外部调用也许已做了", count=len(doubted), uncertain=len(ended), **names_of(doubted))
        for task in ended:
            self.metrics.settled.labels(task.type, task.queue, task.verdict).inc()
            self.metrics.uncertain.labels(task.type).inc()
