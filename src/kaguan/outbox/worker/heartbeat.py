"""心跳：在后台反复续租；这一拍出了什么错，都是下一拍再试——心跳死了，手里的任务就一个个丢。"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from psycopg_pool import PoolTimeout

from kaguan.database.pool import CONNECTION_ERRORS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kaguan.outbox.worker.leases import Leases

log = structlog.get_logger(__name__)


@asynccontextmanager
async def beating(leases: Leases) -> AsyncIterator[None]:
    """进入即开始心跳，离开即停。"""
    task = asyncio.create_task(_run(leases), name="heartbeat")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _run(leases: Leases) -> None:
    while True:
        try:
            async with asyncio.timeout(leases.lease):
                await leases.run_once()
        except (PoolTimeout, TimeoutError, *CONNECTION_ERRORS) as error:
            log.warning("心跳失败，下一拍再试", error=type(error).__name__)
        except Exception:  # 心跳停了租约全失：说一声，下一拍再来
            log.exception("心跳意外出错，下一拍再试")
        await asyncio.sleep(leases.interval)
