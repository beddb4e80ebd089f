"""监听 PostgreSQL 的通知：专用连接，断了就重连。通知会丢，靠它的都要另有后盾。"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import structlog
from psycopg import sql

from kaguan.database.pool import open_connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaguan.config.model import Database

log = structlog.get_logger(__name__)

RECONNECT_DELAY = 1.0  # 秒
LISTEN_SLICE = 60.0  # 秒；监听连接每隔这么久醒一次


async def listen(config: Database, role: str, channel: str, heard: Callable[[], None]) -> None:
    """听到就调用 ``heard``；连接断了就重连，（重）连上先调用一次：可能漏听。"""
    while True:
        try:
            async with await open_connection(config, role) as connection:
                await connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
                heard()
                while True:
                    async for _ in connection.notifies(timeout=LISTEN_SLICE, stop_after=1):
                        heard()
        except psycopg.Error as error:
            log.warning("监听连接中断，稍后重连", channel=channel, error=type(error).__name__)
            await asyncio.sleep(RECONNECT_DELAY)  # 库不在时不空转
        except Exception:  # 监听死了就再也听不见：说一声，重连
            log.exception("监听意外出错，稍后重连", channel=channel)
            await asyncio.sleep(RECONNECT_DELAY)  # 库不在时不空转
