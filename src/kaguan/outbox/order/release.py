"""放行的兜底：有了结局、却没来得及放行的队头（谁死在两者之间），由这里接着放行下一个。"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

from kaguan.database.pool import Pool
from kaguan.outbox.order import ordering
from kaguan.outbox.vocabulary import FIRST_ID
from kaguan.words.log import get_logger

log = get_logger(__name__)

PAGE = 2_000
BUDGET = 0.5  # 秒：一次至多看这么久，键再多，一圈也不过几十秒


@dataclass(slots=True)
class OrderingRelease:
    """一页页看队头，一圈圈地看；一次看到 ``budget`` 秒用完或一圈看完，余下的下次接着看。"""

    pool: Pool
    page: int = PAGE
    budget: float = BUDGET
    _after: UUID = FIRST_ID

    async def run_once(self) -> int:
        """返回放行的任务数。"""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.budget
        released = await self._page()
        while self._after != FIRST_ID and loop.time() < deadline:
            released += await self._page()
        if released:
            log.info("放行同键的下一个任务", count=released)
        return released

    async def _page(self) -> int:
        async with self.pool.connection() as connection:
            heads = await ordering.heads(connection, self._after, self.page)
            released = await ordering.release(connection, heads) if heads else 0
        self._after = heads[-1] if len(heads) == self.page else FIRST_ID
        return released
