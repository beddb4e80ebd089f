"""总览要的一切，一次看全。一个进程里至多每秒看一次，几个人同时看也只查一遍。"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from api.console.verdicts import VerdictCache
from api.http.keys import Services
from kaguan.database.pool import Connection
from kaguan.outbox.operate.drains import Drain, drains
from kaguan.telemetry.pools import PoolFigures, database_figures
from kaguan.verdict import queries
from kaguan.verdict.model import Verdict
from kaguan.verdict.observation import Broker, Ledger
from kaguan.verdict.queries import Fault, TrendBucket
from kaguan.words.errors import Code, DomainError

STEP = 5.0  # 秒：趋势的一段
BUCKETS = 60
BACKFILL_CAP = 2_000  # 补看很多段时，每段数到这里为止
BUCKET_CAP = 20_000
FEW = 3  # 只差这么几段时，每段可以多数一些
FAULTS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Snapshot:
    """此刻的全貌。``broker`` 为 None 即 Redis 不在。"""

    verdict: Verdict
    ledger: Ledger
    broker: Broker | None
    epoch: dict[str, object] | None
    faults: list[Fault]
    trend: list[TrendBucket]
    pool: PoolFigures
    drains: list[Drain]


class SnapshotCache:
    def __init__(self, services: Services, verdicts: VerdictCache) -> None:
        self._pool = services.pool
        self._verdicts = verdicts
        self._busy = asyncio.Lock()
        self._seen: Snapshot | None = None
        self._trend: list[TrendBucket] = []

    async def look(self) -> tuple[Snapshot | None, Verdict]:
        """最多一秒前的全貌与判断；别人的锁挡着、看不全的，只有判断。

        Raises:
            DomainError: 2002，数据库不在；psycopg 的连接错误也会原样出来。
        """
        async with self._busy:
            seen, verdict = await self._verdicts.look()
            if seen.ledger is None and verdict.is_locked:
                return None, verdict
            if seen.ledger is None:
                raise DomainError(Code.DATABASE_UNAVAILABLE)
            if self._seen is None or self._seen.verdict is not verdict:
                self._seen = await self._take(verdict, seen.ledger, seen.broker)
            return self._seen, verdict

    async def _take(self, verdict: Verdict, ledger: Ledger, broker: Broker | None) -> Snapshot:
        async with self._pool.connection() as connection:
            await self._extend_trend(connection, ledger.totals.now)
            return Snapshot(
                verdict=verdict,
                ledger=ledger,
                broker=broker,
                epoch=await queries.broker(connection),
                faults=await queries.faults(connection, FAULTS_SHOWN),
                trend=list(self._trend),
                pool=database_figures(self._pool),
                drains=await drains(connection),
            )

    async def _extend_trend(self, connection: Connection, now: datetime) -> None:
        """只查还没看过的段；很久没人看了就补看，每段少数一些。"""
        known = self._trend[-1].at.timestamp() if self._trend else 0.0
        missing = min(BUCKETS, int((now.timestamp() // STEP * STEP - STEP - known) / STEP))
        if missing <= 0:
            return
        cap = BUCKET_CAP if missing <= FEW else BACKFILL_CAP
        fresh = await queries.trend(connection, STEP, missing, cap)
        newest = [bucket for bucket in fresh if bucket.at.timestamp() > known]
        self._trend = [*self._trend, *newest][-BUCKETS:]


SNAPSHOTS = web.AppKey("SNAPSHOTS", SnapshotCache)
