"""放行的兜底：worker 结算之后没来得及放行的、被取消或判死的队头，都由这里接着放行下一个。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from kaguan.tasks import ordering

if TYPE_CHECKING:
    from kaguan.database.pool import Pool

log = structlog.get_logger(__name__)

PAGE = 1_000


@dataclass(frozen=True, slots=True)
class OrderingRelease:
    pool: Pool

    async def run_once(self) -> int:
        """返回放行的任务数。"""
        async with self.pool.connection() as connection:
            released = await ordering.release(connection, PAGE)
        if released:
            log.info("放行同键的下一个任务", count=released)
        return released
