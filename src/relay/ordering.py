"""放行的兜底：worker 结算之后没来得及放行的、被取消或判死的队头，都由这里接着放行下一个。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from kaguan.tasks import ordering

if TYPE_CHECKING:
    from kaguan.database.pool import Pool

log = structlog.get_logger(__name__)

PAGE = 2_000
FIRST_ID = UUID(int=0)


@dataclass(slots=True)
class OrderingRelease:
    """一次看一页队头，一圈圈地看：键再多，一次也只查这么多。"""

    pool: Pool
    _after: UUID = FIRST_ID

    async def run_once(self) -> int:
        """返回放行的任务数。"""
        async with self.pool.connection() as connection:
            heads = await ordering.heads(connection, self._after, PAGE)
            released = await ordering.release(connection, heads) if heads else 0
        self._after = heads[-1] if len(heads) == PAGE else FIRST_ID
        if released:
            log.info("放行同键的下一个任务", count=released)
        return released
