"""看着：没有人来问的时候也看，记下从何时起、何时没了。API 与 relay 各有这么一个循环，每一眼只轮到其中一个。"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from redis.asyncio import Redis

from kaguan.config import Settings
from kaguan.database.pool import Pool, is_away, transaction
from kaguan.database.sql import load
from kaguan.outbox.accept.acceptance import Count, uncounted
from kaguan.verdict import service
from kaguan.verdict.memory import PACKAGE, remember
from kaguan.verdict.model import ConcernCode
from kaguan.verdict.patience import SHIPPED, Patience
from kaguan.verdict.telling import Telling

PACE = 5.0  # 秒


@dataclass(slots=True)
class Watch:
    """``pace``：隔几秒看一眼，全部进程合起来算；``count``：提交之后数告诉人的任务。"""

    pool: Pool
    redis: Redis
    settings: Settings
    pace: float = PACE
    count: Count = uncounted
    patience: Patience = SHIPPED
    _away: datetime | None = field(default=None, init=False)  # 从何时起数据库不答

    async def run_once(self) -> int:
        """轮到自己就看一眼、记下；返回补进发件箱的个数。

        Raises:
            psycopg.Error: 数据库不答；从何时起记着，答了再补记。
        """
        try:
            is_mine = await self._is_mine()
        except Exception as error:  # 不在的记下从何时起，照抛
            if is_away(error):
                self._away = self._away or datetime.now(UTC)
            raise
        if self._away is not None:  # 不等轮到自己：轮到的那一个也许没赶上
            async with self.pool.connection() as connection:
                away = {"code": ConcernCode.DATABASE, "since": self._away}
                await connection.execute(load(PACKAGE, "missed"), away)
            self._away = None
        if not is_mine:
            return 0
        seen, concerns = await service.look(self.pool.connection, self.redis, self.settings, self.patience)
        async with self.pool.connection() as connection, transaction(connection) as after_commit:
            kept = await remember(connection, seen.at, concerns)
            await Telling(self.settings, self.count).tell(connection, seen.at, kept, after_commit)
        return 0

    async def _is_mine(self) -> bool:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(load(PACKAGE, "watch"), {"pace": self.pace})
            return await cursor.fetchone() is not None
