"""门铃：提交之后唤醒 relay。合并按铃，走旁路连接；绝不在业务事务里 NOTIFY（它会让提交串行）。"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg
import structlog

from kaguan.database.pool import open_connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kaguan.config.model import Database

log = structlog.get_logger(__name__)

CHANNEL = "kaguan_outbox"
RECONNECT_DELAY = 1.0  # 秒；期间漏掉的铃由 relay 的轮询补上


class Doorbell:
    """``ring()`` 只是置位，不等待；后台至多每 ``interval`` 秒真正按一次。"""

    def __init__(self, config: Database, interval: float) -> None:
        self._config = config
        self._interval = interval
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """有新的待交付（受理、放行）：提交之后调用。"""
        self._rung.set()

    async def run(self) -> None:
        """按铃的后台循环；连接断了就重连。"""
        while True:
            try:
                async with await open_connection(self._config, "doorbell") as connection:
                    while True:
                        await self._rung.wait()
                        self._rung.clear()
                        await connection.execute(f"notify {CHANNEL}")
                        await asyncio.sleep(self._interval)  # 一段时间里的铃合成一声
            except psycopg.Error as error:
                log.warning("门铃连接中断，稍后重连", error=type(error).__name__)
                await asyncio.sleep(RECONNECT_DELAY)  # 库不在时不空转
            except Exception:  # 门铃死了就只剩轮询：说一声，重连
                log.exception("门铃意外出错，稍后重连")
                await asyncio.sleep(RECONNECT_DELAY)  # 库不在时不空转

    @asynccontextmanager
    async def ringing(self) -> AsyncIterator[Doorbell]:
        """在后台跑起来，离开时停下。"""
        task = asyncio.create_task(self.run(), name="doorbell")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
