"""外发邮件：同时几封、每秒几封都有上限，中继主机病了就断开。一次 :meth:`Mailer.send` 给出每个收件人的结局。"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from kaguan.breakers.breaker import Breaker, BreakerStatus
from kaguan.config.model import Smtp
from kaguan.config.relay_host import parse_relay_host
from kaguan.flow.background import in_background
from kaguan.flow.backoff import jitter
from kaguan.mail.connection import UnreachableError, trust
from kaguan.mail.message import Envelope
from kaguan.queues.shared_rate import SharedRate
from kaguan.telemetry.spans import SERVER_ADDRESS, SERVER_PORT, client_span, record_error
from kaguan.words.log import get_logger
from kaguan.words.reasons import Reason, ReasonError
from workers.email.outage import before_session, judged
from workers.email.pool import LIMITS, SessionLimits, SessionPool
from workers.email.receipt import Receipt, RecipientOutcome
from workers.email.session import SmtpSession

log = get_logger(__name__)

TICK = (0.5, 1.5)  # 秒；多久看一次要不要试探、有没有闲置的，随机


class QueuedError(Exception):
    """只是排不上我们自己的发信限额：什么都没发，也说明不了对方。"""


class RelayHostOpenError(ReasonError):
    """中继主机的断路器断开着：没有去连。原因是断开的缘由。"""


class _SickError(ReasonError):
    """会话里的结局说的全是中继主机。"""

    def __init__(self, receipts: dict[str, Receipt]) -> None:
        super().__init__(next(iter(receipts.values())).label)
        self.receipts = receipts


class Mailer:
    """一个进程到一台中继的通道，连接至多 ``config.connections`` 条。由 :func:`open_mailer` 建立与关闭。"""

    def __init__(
        self, config: Smtp, redis: Redis | None, tls: ssl.SSLContext, limits: SessionLimits, rate_window: int
    ) -> None:
        self._relay = parse_relay_host(config.url.get_secret_value())
        self._patience = config.data_timeout
        self._slots = asyncio.Semaphore(config.connections)
        self._rate = SharedRate("smtp", self._relay.name, config.per_second, redis, rate_window)
        self.pool = SessionPool(self._relay, config, tls, limits)
        self._breaker = Breaker(
            config.breaker_failures,
            config.breaker_cooldown,
            (UnreachableError, _SickError),
            lambda status, _: RelayHostOpenError(status.cause),
        )
        self._accepted_at = -math.inf
        self._sick_inside = False  # 最近一次败在会话里：连得上说明不了什么，只有信试得出

    def watch_breaker(self, changed: Callable[[str, BreakerStatus], None]) -> None:
        """断路器的状态从此都告诉 ``changed``（先是中继的 ``主机:端口``），先报眼下的。"""
        self._breaker.watch(lambda status: changed(self._relay.name, status))

    def refuse_if_open(self) -> None:
        """断路器断开着就不必准备了。

        Raises:
            RelayHostOpenError: 断开着。
        """
        self._breaker.refuse_if_open()

    def accepted_since(self, moment: float) -> bool:
        """``moment``（事件循环的钟）以来，本进程有没有信寄成。"""
        return self._accepted_at > moment

    async def send(
        self, envelope: Envelope, recipients: list[str], declare: Callable[[], Awaitable[list[str]]]
    ) -> dict[str, Receipt]:
        """投递一封信。

        Args:
            envelope: 邮件。
            recipients: 要投递的收件人。
            declare: 连接已就绪、第一条 MAIL 命令之前调用；返回确实可投的收件人。它抛出的异常原样传出，什么都没发。

        Returns:
            每个收件人的结局；连不上则全部 deferred，且没有调用过 ``declare``。说的是中继主机的，带着 ``outage``。

        Raises:
            QueuedError: 排不上限额；没有调用过 ``declare``。
            RelayHostOpenError: 断路器断开着；没有调用过 ``declare``。
        """
        with client_span("smtp send", {SERVER_ADDRESS: self._relay.host, SERVER_PORT: self._relay.port}) as span:
            try:
                receipts = await self._send(envelope, declare)
            except UnreachableError as error:
                record_error(span, type(error).__name__)
                receipt = Receipt(RecipientOutcome.DEFERRED, error.code, error.reason, before_session(error))
                receipts = dict.fromkeys(recipients, receipt)
            for outcome in RecipientOutcome:
                span.set_attribute(f"kaguan.mail.{outcome}", sum(item.outcome is outcome for item in receipts.values()))
            return receipts

    async def _send(self, envelope: Envelope, declare: Callable[[], Awaitable[list[str]]]) -> dict[str, Receipt]:
        self._breaker.refuse_if_open()
        await self._acquire_slot()
        try:
            if not await self._rate.wait(asyncio.get_running_loop().time() + self._patience):
                raise QueuedError
            async with self._guarded() as session:
                declared = await declare()
                return await self._deliver(session, envelope, declared) if declared else {}
        except _SickError as error:
            return error.receipts
        finally:
            self._slots.release()

    async def _deliver(self, session: SmtpSession, envelope: Envelope, recipients: list[str]) -> dict[str, Receipt]:
        """投递，并认出说的是中继主机的结局。

        Raises:
            _SickError: 没有一个收件人得到过说得清的应答。
        """
        receipts = {one: judged(receipt) for one, receipt in (await session.deliver(envelope, recipients)).items()}
        self._sick_inside = all(
            receipt.outage or receipt.outcome is RecipientOutcome.UNKNOWN for receipt in receipts.values()
        )
        if self._sick_inside:
            raise _SickError(receipts)
        if any(receipt.outcome is RecipientOutcome.ACCEPTED for receipt in receipts.values()):
            self._accepted_at = asyncio.get_running_loop().time()
        return receipts

    async def probe(self) -> bool:
        """最近一次是没连上、而此刻可以去试，就自己去连一次，不等下一封信；返回连上没有。连上的留给信用。"""
        if not self._breaker.failing or self._sick_inside or self._slots.locked():
            return False
        try:
            async with self._slots, self._guarded():
                return True
        except (UnreachableError, RelayHostOpenError):
            return False

    @asynccontextmanager
    async def _guarded(self) -> AsyncIterator[SmtpSession]:
        """断路器放行了，才借一条连接。"""
        with self._breaker.guarding():
            try:
                async with self.pool.session() as session:
                    yield session
            except UnreachableError:
                self._sick_inside = False
                raise

    async def _acquire_slot(self) -> None:
        """占一条连接的名额；占不到而其间限额满过，是占着的在等限额，否则是对方把它们都拖住了。"""
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._patience):
                await self._slots.acquire()
        except TimeoutError:
            if self._rate.full_at >= started:
                raise QueuedError from None
            raise UnreachableError(Reason("mail.no_connection")) from None


@asynccontextmanager
async def open_mailer(
    config: Smtp,
    redis: Redis | None = None,
    tls: ssl.SSLContext | None = None,
    *,
    limits: SessionLimits = LIMITS,
    tick: tuple[float, float] = TICK,
    rate_window: int = 1,
) -> AsyncIterator[Mailer]:
    """本进程唯一的外发通道；离开时关闭全部连接。

    Args:
        config: SMTP 配置。
        redis: 各进程共享限速用；``None`` 即只在本进程内限。
        tls: 验证对方证书用；不给则按配置（:func:`kaguan.mail.connection.trust`）。
        limits: 每条连接的限度。
        tick: 隔多久看一次要不要试探、有没有闲置的，秒，在两者之间随机。
        rate_window: ``config.per_second`` 管多少秒。

    Raises:
        ValueError: URL 不合法。
        UnsendableError: 发件人不合法。
    """
    mailer = Mailer(config, redis, tls or trust(config), limits, rate_window)
    try:
        async with in_background(_keep(mailer, tick), "smtp-keeper"):
            yield mailer
    finally:
        await mailer.pool.close()


async def _keep(mailer: Mailer, tick: tuple[float, float]) -> None:
    """试探与关闲置。"""
    while True:
        await asyncio.sleep(jitter(*tick))  # 定时试探，带抖动
        if await mailer.probe():
            log.info("中继主机连上了")
        if closed := await mailer.pool.close_stale():
            log.debug("关闭闲置的 SMTP 连接", closed=closed)
