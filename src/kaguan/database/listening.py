"""池外的专用连接，断了就重连：监听通知。通知会丢，靠它的都要另有后盾；听不见了要有人知道。"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import uuid4

import psycopg
from psycopg import sql

from kaguan.config.model import Database
from kaguan.database.connecting import open_connection
from kaguan.database.pool import PASSING_ERRORS, Connection, Pool
from kaguan.flow.background import happens, in_background
from kaguan.flow.backoff import RECONNECT, jitter
from kaguan.words.log import get_logger

log = get_logger(__name__)

LISTEN_SLICE = 60.0  # 秒；监听连接每隔这么久醒一次
READ_PATIENCE = 1.0  # 秒；说了半句的，等它说完
ECHO_INTERVAL = 20.0  # 秒；多久试一次自己听不听得见
ECHO_PATIENCE = 5.0  # 秒；等回声
MISSES = 2  # 接连这么多次没有回声就是聋了；一次也许恰逢重连


async def stay_connected(config: Database, role: str, use: Callable[[Connection], Awaitable[None]]) -> None:
    """在一条专用连接上做 ``use``；断了或做完了就重连，从头做起，直到被取消。"""
    while True:
        try:
            async with await open_connection(config, role) as connection:
                await use(connection)
        except psycopg.Error as error:
            log.warning("专用连接中断，稍后重连", role=role, error=type(error).__name__)
        except Exception:  # 它一死，通知从此无人听：说一声，重来
            log.exception("专用连接上意外出错，稍后重连", role=role)
        await asyncio.sleep(jitter(*RECONNECT))  # 库不在时不空转


async def _readable(connection: Connection, seconds: float) -> bool:
    """对面说了什么没有；``seconds`` 秒还没有就是 False。psycopg 自己等的时候每秒醒十次。"""
    loop, spoken = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connection.fileno(), spoken.set)
    try:
        return await happens(spoken, seconds)
    finally:
        loop.remove_reader(connection.fileno())


def _say_nothing(_deaf: float) -> None:
    pass


@dataclass(slots=True)
class Listener:
    """听一个频道。经事务模式的连接池什么也听不见，也不报错：所以隔一会儿按一下自己的铃，要有回声。

    Attributes:
        config: 听的地方，要直连（``Database.listening``）。
        pool: 试的时候由它的连接按铃：听的那条自己按，连接池有时恰好转得回来，不作数。
        heard: 听到就调用；（重）连上先调用一次：可能漏听。
        tell: 每试一次告诉它结果：1 聋了，0 听得见。
    """

    config: Database
    pool: Pool
    role: str
    channel: str
    heard: Callable[[], None]
    tell: Callable[[float], object] = _say_nothing
    interval: float = ECHO_INTERVAL
    patience: float = ECHO_PATIENCE
    deaf: bool = False
    _own: str = field(default_factory=lambda: f"kaguan_echo_{uuid4().hex}")
    _echo: asyncio.Event = field(default_factory=asyncio.Event)
    _listens: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """听到被取消为止。"""
        async with in_background(self._keep_trying(), f"{self.role}-echo"):
            await stay_connected(self.config, self.role, self._hear)

    async def _hear(self, connection: Connection) -> None:
        for channel in (self.channel, self._own):
            await connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
        self._listens.set()
        self.heard()
        while True:
            silent = not await _readable(connection, LISTEN_SLICE)
            async for notification in connection.notifies(timeout=0 if silent else READ_PATIENCE, stop_after=1):
                silent = False
                if notification.channel == self._own:
                    self._echo.set()
                else:
                    self.heard()
            if silent and self.deaf:
                return  # 换一条连接试试

    async def _keep_trying(self) -> None:
        misses = 0
        await happens(self._listens, self.patience)  # 还没听上就按，白按
        while True:
            misses = 0 if await self._is_heard() else misses + 1
            deaf = misses >= MISSES
            if deaf and not self.deaf:
                log.error(
                    "听不见通知：照走，只是晚一点知道；请把 KAGUAN_DATABASE__LISTEN_URL 设为直连的地址，或设为 off",
                    role=self.role,
                    channel=self.channel,
                )
            elif self.deaf and not deaf:
                log.info("又听得见通知", role=self.role, channel=self.channel)
            self.deaf = deaf
            self.tell(deaf)
            if not misses:
                # 没听见的不等，马上再试
                await asyncio.sleep(jitter(0.75 * self.interval, 1.25 * self.interval))  # 到点再按一次，没有可等的事

    async def _is_heard(self) -> bool:
        """按一下自己的铃，有没有回声；按不成不算没有：库不在，别处会说。"""
        self._echo.clear()
        try:
            async with self.pool.connection() as connection:
                await connection.execute("select pg_notify(%s, '')", (self._own,))
        except PASSING_ERRORS:
            return True
        return await happens(self._echo, self.patience)
