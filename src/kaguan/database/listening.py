"""池外的专用连接，断了就重连：监听通知、按门铃。通知会丢，靠它的都要另有后盾。"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import structlog
from psycopg import sql

from kaguan.backoff import jitter
from kaguan.database.connecting import open_connection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kaguan.config.model import Database
    from kaguan.database.pool import Connection

log = structlog.get_logger(__name__)

RECONNECT = (0.5, 1.5)  # 秒；随机：库回来时不一齐去连
LISTEN_SLICE = 60.0  # 秒；监听连接每隔这么久醒一次


async def stay_connected(config: Database, role: str, use: Callable[[Connection], Awaitable[None]]) -> None:
    """在一条专用连接上做 ``use``，做不完的事；断了就重连，从头做起，直到被取消。"""
    while True:
        try:
            async with await open_connection(config, role) as connection:
                await use(connection)
        except psycopg.Error as error:
            log.warning("专用连接中断，稍后重连", role=role, error=type(error).__name__)
        except Exception:  # 它一死，通知从此无人听、门铃从此无人按：说一声，重来
            log.exception("专用连接上意外出错，稍后重连", role=role)
        await asyncio.sleep(jitter(*RECONNECT))  # 库不在时不空转


async def listen(config: Database, role: str, channel: str, heard: Callable[[], None]) -> None:
    """听到就调用 ``heard``；（重）连上先调用一次：可能漏听。"""

    async def hear(connection: Connection) -> None:
        await connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
        heard()
        while True:
            async for _ in connection.notifies(timeout=LISTEN_SLICE, stop_after=1):
                heard()

    await stay_connected(config, role, hear)
