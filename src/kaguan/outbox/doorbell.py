"""门铃：提交之后唤醒 relay。合并按铃，走旁路连接；绝不在业务事务里 NOTIFY（它会让提交串行）。"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from kaguan.background import in_background
from kaguan.database.listening import stay_connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kaguan.config.model import Database
    from kaguan.database.pool import Connection

CHANNEL = "kaguan_outbox"


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
        """按铃的后台循环；断线期间漏掉的铃由 relay 的轮询补上。"""
        await stay_connected(self._config, "doorbell", self._press)

    async def _press(self, connection: Connection) -> None:
        while True:
            await self._rung.wait()
            self._rung.clear()
            await connection.execute(f"notify {CHANNEL}")
            await asyncio.sleep(self._interval)  # 一段时间里的铃合成一声

    @asynccontextmanager
    async def ringing(self) -> AsyncIterator[Doorbell]:
        """在后台跑起来，离开时停下。"""
        async with in_background(self.run(), "doorbell"):
            yield self
