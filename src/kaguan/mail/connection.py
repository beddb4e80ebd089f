"""到中继的一条 SMTP 连接：连接、加密、打招呼、登录。worker 寄信与 ``kaguan doctor`` 走的是同一段。"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from aiosmtplib import SMTP, SMTPConnectResponseError, SMTPResponseException, SMTPStatus
from aiosmtplib.protocol import SMTPProtocol

from kaguan.config.model import Smtp
from kaguan.config.relay_host import RelayHost
from kaguan.mail.failure import NETWORK_ERRORS, describe, describe_connect, describe_tls, reply_code
from kaguan.mail.reply import credentials, words
from kaguan.words.reasons import Reason, ReasonError

POLL = 0.005  # 秒
LONGEST_POLL = 0.1  # 秒；再久是自己停了，不怪对方
FAREWELL = 1.0  # 秒；等对方答 QUIT
WORDS_LENGTH = 200  # 字符；对方的话至多引这么多


class Step(StrEnum):
    """停在哪一步。"""

    CONNECT = "connect"
    TLS = "tls"
    GREETING = "greeting"
    LOGIN = "login"


class UnreachableError(ReasonError):
    """没能得到可用的连接；此时肯定什么都没发出去。"""

    def __init__(self, reason: Reason | str, code: int | None = None, step: Step = Step.CONNECT) -> None:
        super().__init__(reason)
        self.code = code
        self.step = step


def trust(config: Smtp) -> ssl.SSLContext:
    """验证中继证书用：配了 ``ca_file`` 就只信其中的，没配就信系统的（``SSL_CERT_FILE`` 可指定）。"""
    return ssl.create_default_context(cafile=config.ca_file)


@dataclass(frozen=True, slots=True)
class SmtpLink:
    """一条已就绪的连接。

    Attributes:
        client: SMTP 对话。
        wire: TCP 那一层；加密时在 TLS 层之下，有自己的写缓冲。
    """

    client: SMTP
    wire: asyncio.Transport

    @property
    def tls_version(self) -> str | None:
        """如 ``TLSv1.3``；没有加密则 None。"""
        session = self.client.get_transport_info("ssl_object")
        return None if session is None else str(session.version())

    async def flushed(self, patience: float) -> None:
        """等写下的字节全都交给内核。

        返回之时连接还好好的，且没有一个字节留在本进程里——事件循环的通知做不到这一点：TLS 层说「写完了」，密文可能
        还在 TCP 层的缓冲里，而那一层的通知归 TLS 层。因此直接问两层各剩多少。

        Args:
            patience: 一个字节也没有被收走的时限，秒；慢而不断的对方不会被一刀切。

        Raises:
            ConnectionResetError: 连接已断。
            TimeoutError: 对方停住了。
        """
        clock = asyncio.get_running_loop().time
        left, waited, looked = self._unsent(), 0.0, clock()
        while left:
            await asyncio.sleep(POLL)  # 没有通知可等：TLS 占了它，见上
            before, looked, now = looked, clock(), self._unsent()
            waited = waited + min(looked - before, LONGEST_POLL) if now == left else 0.0
            left = now
            if waited > patience:
                raise TimeoutError

    def _unsent(self) -> int:
        upper = self.client.transport
        # 断开会清空缓冲：先看断没断，空才算数
        if upper is None or upper.is_closing() or self.wire.is_closing():
            raise ConnectionResetError("连接已断")
        return cast("asyncio.Transport", upper).get_write_buffer_size() + self.wire.get_write_buffer_size()

    async def close(self) -> None:
        """QUIT 之后关闭；对方不答也关。"""
        try:
            if self.client.is_connected:
                await self.client.quit(timeout=FAREWELL)
        except NETWORK_ERRORS:
            pass
        finally:
            self.client.close()
            self.abort()  # TLS 的收尾要等对方：告别过了，不等；循环接着就结束的（doctor），套接字不能留着

    def abort(self) -> None:
        """立刻关闭，不告别，没发的作废。"""
        if self.wire.get_protocol() is not None:  # 断干净了的再断一次，asyncio 会抛异常
            self.wire.abort()
        self.client.close()


async def open_link(relay: RelayHost, config: Smtp, tls: ssl.SSLContext, helo: str) -> SmtpLink:
    """连接、按策略加密、登录。

    Raises:
        UnreachableError: 任何一步没成；话里有原因，``step`` 说停在哪一步。
    """
    opening = _Opening(relay, config, tls, helo)
    try:
        async with asyncio.timeout(config.timeout * 3):
            return await opening.run()
    except NETWORK_ERRORS as error:
        opening.abort()
        raise UnreachableError(opening.describe(error), reply_code(error), opening.step) from None
    except BaseException:  # 取消也不留下半开的连接
        opening.abort()
        raise


class _Opening:
    """打开到一半的连接。"""

    def __init__(self, relay: RelayHost, config: Smtp, tls: ssl.SSLContext, helo: str) -> None:
        self._relay = relay
        self._config = config
        self._tls = tls
        self._client = SMTP(
            hostname=relay.host,
            port=relay.port,
            start_tls=False,
            tls_context=tls,
            timeout=config.timeout,
            local_hostname=helo,
        )
        self._wire: asyncio.Transport | None = None
        self.step = Step.CONNECT

    async def run(self) -> SmtpLink:
        wire = await self._connect()
        await self._client.ehlo()
        encrypted = self._relay.implicit_tls or await self._starttls()
        self.step = Step.LOGIN
        await self._login(allowed=encrypted or self._config.starttls == "off")
        return SmtpLink(self._client, wire)

    async def _connect(self) -> asyncio.Transport:
        """隐式 TLS 也先连 TCP 再升级：由库代劳就摸不到 TLS 之下的那一层（见 :meth:`SmtpLink.flushed`）。"""
        loop = asyncio.get_running_loop()
        relay, timeout, protocol = self._relay, self._config.timeout, SMTPProtocol()
        # 升级之前到的明文不是对话的一部分，交给一个什么都不收的
        first = asyncio.Protocol if relay.implicit_tls else lambda: protocol
        async with asyncio.timeout(timeout):
            wire, _ = await loop.create_connection(first, relay.host, relay.port)
        self._wire = self._client.transport = wire
        self._client.protocol = protocol
        if relay.implicit_tls:
            self.step = Step.TLS
            protocol.connection_made(wire)
            protocol.transport = self._client.transport = await loop.start_tls(
                wire, protocol, self._tls, server_hostname=relay.host, ssl_handshake_timeout=timeout
            )
        self.step = Step.GREETING
        greeting = await protocol.read_response(timeout=timeout)
        if greeting.code != SMTPStatus.ready:
            raise SMTPConnectResponseError(greeting.code, greeting.message)
        return wire

    async def _starttls(self) -> bool:
        policy = self._config.starttls
        if policy == "off":
            return False
        self.step = Step.TLS
        if not self._client.supports_extension("starttls"):
            if policy == "required":
                raise UnreachableError(Reason("mail.starttls_missing"), step=self.step)
            return False
        await self._client.starttls()
        self.step = Step.GREETING
        await self._client.ehlo()
        return True

    async def _login(self, *, allowed: bool) -> None:
        """只有配置明说不用 STARTTLS 时才明文登录；被人剥掉 STARTTLS 不算。"""
        if self._relay.username is None:
            return
        if not allowed:
            raise UnreachableError(Reason("mail.login_unencrypted"), step=Step.TLS)
        await self._client.login(self._relay.username, self._relay.password or "")

    def describe(self, error: BaseException) -> Reason:
        """停在哪一步、为什么；对方说了话的，引在后面。"""
        say = {Step.CONNECT: describe_connect, Step.TLS: describe_tls}.get(self.step, describe)
        if not isinstance(error, SMTPResponseException) or reply_code(error) is None:
            return say(error)
        secrets = credentials(self._relay.username or "", self._relay.password or "")
        quoted = words(error.message, WORDS_LENGTH, secrets)
        return Reason("mail.quoted", {"reason": say(error), "words": quoted}) if quoted else say(error)

    def abort(self) -> None:
        if self._wire is not None:
            SmtpLink(self._client, self._wire).abort()
