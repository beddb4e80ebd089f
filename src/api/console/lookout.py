"""瞭望：总览要的一切，一次看全。一个进程里至多每秒看一次，几个人同时看也只查一遍。"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from kaguan.console import looking
from kaguan.outbox import store as outbox
from kaguan.queues.saq import build_queues
from kaguan.tasks.model import Priority, PriorityRank
from kaguan.telemetry.pools import database_figures

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from api.keys import Services
    from kaguan.console.looking import Bucket, Fault, Held, Process, Totals
    from kaguan.database.pool import Connection
    from kaguan.outbox.store import QueueBacklog
    from kaguan.telemetry.pools import PoolFigures

FRESH = 1.0  # 秒：这么新的不必再看
REDIS_TIMEOUT = 0.5  # 秒；更慢就当它不在
STEP = 5.0  # 秒：趋势的一段
BUCKETS = 60
BACKFILL_CAP = 2_000  # 补看很多段时，每段数到这里为止
BUCKET_CAP = 20_000
FEW = 3  # 只差这么几段时，每段可以多数一些
FAULTS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Depth:
    """一个队列在 Redis 里：等着取的、取走未完的、在看着它的 SAQ worker。"""

    queued: int
    active: int
    watchers: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """此刻的全貌。``depths`` 为 None 即 Redis 不在。"""

    totals: Totals
    backlog: Mapping[Priority, QueueBacklog]
    parked: int
    held: list[Held]
    processes: list[Process]
    epoch: dict[str, object] | None
    faults: list[Fault]
    trend: list[Bucket]
    depths: Mapping[Priority, Depth] | None
    pool: PoolFigures

    def running_in(self, queue: Priority) -> int:
        return sum(item.held for item in self.held if item.queue == queue)

    def connected(self, name: str) -> int:
        return sum(1 for item in self.processes if item.process == f"kaguan-{name}")


class Lookout:
    def __init__(self, services: Services) -> None:
        self._pool = services.pool
        self._queues = build_queues(services.redis)
        self._busy = asyncio.Lock()
        self._seen: tuple[float, Snapshot] | None = None
        self._trend: list[Bucket] = []

    async def look(self) -> Snapshot:
        """最多一秒前的全貌。

        Raises:
            PoolTimeout: 数据库不在；psycopg 的连接错误也会原样出来。
        """
        async with self._busy:
            if self._seen is not None and self._seen[0] > time.monotonic() - FRESH:
                return self._seen[1]
            snapshot = await self._take()
            self._seen = (time.monotonic(), snapshot)
            return snapshot

    async def _take(self) -> Snapshot:
        depths = await self._depths()
        async with self._pool.connection() as connection:
            totals = await looking.totals(connection)
            await self._extend_trend(connection, totals.now)
            lines = await outbox.backlog(connection, looking.COUNT_CAP)
            return Snapshot(
                totals=totals,
                backlog={PriorityRank(line.priority).queue: line for line in lines},
                parked=await outbox.parked(connection, looking.COUNT_CAP),
                held=await looking.running(connection),
                processes=await looking.processes(connection),
                epoch=await looking.broker(connection),
                faults=await looking.faults(connection, FAULTS_SHOWN),
                trend=list(self._trend),
                depths=depths,
                pool=database_figures(self._pool),
            )

    async def _extend_trend(self, connection: Connection, now: datetime) -> None:
        """只查还没看过的段；很久没人看了就补看，每段少数一些。"""
        known = self._trend[-1].at.timestamp() if self._trend else 0.0
        missing = min(BUCKETS, int((now.timestamp() // STEP * STEP - STEP - known) / STEP))
        if missing <= 0:
            return
        cap = BUCKET_CAP if missing <= FEW else BACKFILL_CAP
        fresh = await looking.trend(connection, STEP, missing, cap)
        newest = [bucket for bucket in fresh if bucket.at.timestamp() > known]
        self._trend = [*self._trend, *newest][-BUCKETS:]

    async def _depths(self) -> dict[Priority, Depth] | None:
        pipeline = next(iter(self._queues.values())).redis.pipeline(transaction=False)
        try:
            async with asyncio.timeout(REDIS_TIMEOUT), pipeline as pipe:
                for queue in self._queues.values():
                    pipe.llen(queue.namespace("queued"))
                    pipe.llen(queue.namespace("active"))
                    pipe.zcount(queue.namespace("stats"), int(time.time() * 1000), "+inf")
                found = await pipe.execute()
        except (RedisError, OSError, TimeoutError):
            return None
        return {
            queue: Depth(*found[index * 3 : index * 3 + 3])  # 每个队列三个数
            for index, queue in enumerate(self._queues)
        }
