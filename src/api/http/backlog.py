"""积压保护：待交付的行超过上限就回 503/2003。估计值在请求之外更新，至多每秒一次。"""

from __future__ import annotations

import asyncio

from psycopg import Error

from kaguan.database.pool import Pool
from kaguan.flow.backoff import about
from kaguan.outbox.operate import backlog
from kaguan.outbox.order import ordering
from kaguan.words.errors import Code, DomainError
from kaguan.words.log import get_logger

log = get_logger(__name__)

INTERVAL = 1.0  # 秒
CALM, AMPLE = 4, 20_000  # 离上限还有这么多行，就多歇几倍：这么久里受理不了这么多
COST_SHARE = 50  # 计数至多占用它自己耗时的五十分之一：积压越大，看得越稀


class Backlog:
    """待交付行数的估计。"""

    def __init__(self, pool: Pool, limit: int) -> None:
        self._pool = pool
        self._limit = limit
        self._ordered = 0
        self.rows = 0

    def check(self) -> None:
        """不查库，只看估计值。

        Raises:
            DomainError: 2003，积压超过上限。
        """
        if self.rows > self._limit:
            raise DomainError(Code.OVERLOADED)

    async def run_once(self) -> int:
        """更新估计；数到上限为止。有序的数不出来，就沿用上一次的，发件箱的照样算数。"""
        async with self._pool.connection() as connection:
            staged = sum(line.waiting for line in await backlog.backlog(connection, self._limit + 1))
            self.rows = staged + self._ordered
            room = self._limit + 1 - staged
            if room > 0:
                self._ordered = await ordering.waiting(connection, room)
                self.rows = staged + self._ordered
        return self.rows

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                await self.run_once()
            except Error as error:
                log.debug("没能更新积压估计", error=type(error).__name__)
            calm = CALM if self._limit - self.rows > AMPLE else 1
            pause = max(about(calm * INTERVAL), (loop.time() - started) * COST_SHARE)
            await asyncio.sleep(pause)  # 查询越慢歇得越久：估计本身不该成为负担
