"""到一台中继的连接：用过的留着，再用之前查活，闲置过久、年纪太大、寄得太多的换掉。"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from kaguan.config.model import Smtp
from kaguan.config.relay_host import RelayHost
from kaguan.mail.message import helo_name
from kaguan.words.units import KIB
from workers.email.session import SmtpSession, open_session


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """一条连接的限度。"""

    idle: float = 30.0  # 秒；多数中继的空闲时限是 60 秒以上
    age: float = 300.0  # 秒；定期重连，中继改了地址也跟得上
    messages: int = 100  # 常见中继的上限
    unsent: int = 64 * KIB  # 字节；本进程里至多压着这么多没发出去的


LIMITS = SessionLimits()


class SessionPool:
    """同时借出几条由借的人管着；``limits`` 是每条的限度。

    Raises:
        UnsendableError: 发件人不合法。
    """

    def __init__(self, relay: RelayHost, config: Smtp, tls: ssl.SSLContext, limits: SessionLimits) -> None:
        self._relay = relay
        self._config = config
        self._tls = tls
        self.limits = limits
        self._helo = helo_name(config.sender)
        self._idle: list[SmtpSession] = []

    @asynccontextmanager
    async def session(self) -> AsyncIterator[SmtpSession]:
        """借一条连接；好好地用完就还回来，半途出事（含取消）就当场关掉。

        Raises:
            UnreachableError: 连不上。
        """
        session = await self._reuse() or await open_session(
            self._relay, self._config, self._tls, self._helo, self.limits.unsent
        )
        try:
            yield session
        except BaseException:  # 取消的也不留下半开的连接
            session.abort()
            raise
        session.used_at = asyncio.get_running_loop().time()
        self._idle.append(session)  # 用不得了的也不在此告别：信的结局已定，不再等对方

    async def _reuse(self) -> SmtpSession | None:
        while self._idle:
            session = self._idle.pop()
            if self._fresh(session) and await session.alive():
                return session
            await session.close()
        return None

    def _fresh(self, session: SmtpSession) -> bool:
        now, limits = asyncio.get_running_loop().time(), self.limits
        young = now - session.used_at < limits.idle and now - session.opened_at < limits.age
        return session.usable and young and session.delivered < limits.messages

    async def close_stale(self) -> int:
        """关掉用不得了的连接；返回关了几条。"""
        stale = [session for session in self._idle if not self._fresh(session)]
        self._idle = [session for session in self._idle if session not in stale]
        for session in stale:
            await session.close()
        return len(stale)

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for session in idle:
            await session.close()
