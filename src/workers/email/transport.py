"""外发邮件：有界、保持、查活的 SMTP 连接，按中继主机限速。一次 :meth:`Mailer.send` 给出每个收件人的结局。"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from kaguan.mail.connection import UnreachableError, trust
from kaguan.mail.message import helo_name
from kaguan.mail.relay_host import parse_relay_host
from kaguan.telemetry.spans import SERVER_ADDRESS, SERVER_PORT, client_span, record_error
from workers.email.rate import RelayRate
from workers.email.receipt import Fate, Receipt
from workers.email.session import Session, open_session

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from redis.asyncio import Redis

    from kaguan.config.model import Smtp
    from kaguan.mail.message import Envelope

log = structlog.get_logger(__name__)

IDLE_LIMIT = 30.0  # 秒；多数中继的空闲时限是 60 秒以上
AGE_LIMIT = 300.0  # 秒；定期重连，中继改了地址也跟得上
MESSAGES_PER_CONNECTION = 100  # 常见中继的上限


class QueuedError(Exception):
    """只是排不上我们自己的发信限额：什么都没发，也说明不了对方。"""


class Mailer:
    """一个进程到一台中继的全部连接，至多 ``config.connections`` 条。由 :func:`open_mailer` 建立与关闭。"""

    def __init__(self, config: Smtp, redis: Redis | None, tls: ssl.SSLContext) -> None:
        self._config = config
        self._tls = tls
        self._relay = parse_relay_host(config.url.get_secret_value())
        self._helo = helo_name(config.sender)
        self._slots = asyncio.Semaphore(config.connections)
        self._idle: list[Session] = []
        self._rate = RelayRate(self._relay.name, config.per_second, redis)

    async def send(
        self, envelope: Envelope, recipients: list[str], declare: Callable[[], Awaitable[list[str]]]
    ) -> dict[str, Receipt]:
        """投递一封信。

        Args:
            envelope: 邮件。
            recipients: 要投递的收件人。
            declare: 连接已就绪、第一条 MAIL 命令之前调用；返回确实可投的收件人。它抛出的异常原样传出，什么都没发。

        Returns:
            每个收件人的结局；连不上则全部 deferred，且没有调用过 ``declare``。

        Raises:
            QueuedError: 排不上限额；没有调用过 ``declare``。
        """
        with client_span("smtp send", {SERVER_ADDRESS: self._relay.host, SERVER_PORT: self._relay.port}) as span:
            try:
                receipts = await self._send(envelope, declare)
            except UnreachableError as error:
                record_error(span, type(error).__name__)
                receipts = dict.fromkeys(recipients, Receipt(Fate.DEFERRED, error.code, str(error)))
            for fate in Fate:
                span.set_attribute(f"kaguan.mail.{fate}", sum(item.fate is fate for item in receipts.values()))
            return receipts

    async def _send(self, envelope: Envelope, declare: Callable[[], Awaitable[list[str]]]) -> dict[str, Receipt]:
        async with AsyncExitStack() as stack:
            await self._acquire_slot()
            stack.callback(self._slots.release)
            try:
                async with asyncio.timeout(self._config.data_timeout):
                    await self._rate.wait()
            except TimeoutError:
                raise QueuedError from None
            session = await stack.enter_async_context(self._session())
            declared = await declare()
            return await session.deliver(envelope, declared) if declared else {}

    async def _acquire_slot(self) -> None:
        """占一条连接的名额；占不到而其间限额满过，是占着的在等限额，否则是对方把它们都拖住了。"""
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._config.data_timeout):
                await self._slots.acquire()
        except TimeoutError:
            if self._rate.full_at >= started:
                raise QueuedError from None
            raise UnreachableError("等连接超时") from None

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        """借一条连接；好好地用完就还回来，半途出事（含取消）就当场关掉。"""
        session = await self._reuse() or await open_session(self._relay, self._config, self._tls, self._helo)
        try:
            yield session
        except BaseException:
            session.abort()
            raise
        session.used_at = asyncio.get_running_loop().time()
        if session.usable and session.delivered < MESSAGES_PER_CONNECTION:
            self._idle.append(session)
        else:
            await session.close()

    async def _reuse(self) -> Session | None:
        while self._idle:
            session = self._idle.pop()
            if self._fresh(session) and await session.alive():
                return session
            await session.close()
        return None

    def _fresh(self, session: Session) -> bool:
        now = asyncio.get_running_loop().time()
        return session.usable and now - session.used_at < IDLE_LIMIT and now - session.opened_at < AGE_LIMIT

    async def close_stale(self) -> int:
        """关掉闲置过久的连接；返回关了几条。"""
        stale = [session for session in self._idle if not self._fresh(session)]
        self._idle = [session for session in self._idle if session not in stale]
        for session in stale:
            await session.close()
        return len(stale)

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for session in idle:
            await session.close()


@asynccontextmanager
async def open_mailer(
    config: Smtp, redis: Redis | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Mailer]:
    """本进程唯一的外发通道；离开时关闭全部连接。

    Args:
        config: SMTP 配置。
        redis: 各进程共享限速用；``None`` 即只在本进程内限。
        tls: 验证对方证书用；不给则按配置（:func:`kaguan.mail.connection.trust`）。

    Raises:
        ValueError: URL 不合法。
        UnsendableError: 发件人不合法。
    """
    mailer = Mailer(config, redis, tls or trust(config))
    keeper = asyncio.create_task(_keep(mailer), name="smtp-idle")
    try:
        yield mailer
    finally:
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper
        await mailer.close()


async def _keep(mailer: Mailer) -> None:
    while True:
        await asyncio.sleep(IDLE_LIMIT / 2)
        closed = await mailer.close_stale()
        if closed:
            log.debug("关闭闲置的 SMTP 连接", closed=closed)
