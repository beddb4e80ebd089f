"""一条 SMTP 连接：建立（TLS、登录）、查活、投递一封信。投递的结局是值，逐收件人。"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, cast

from aiosmtplib import SMTP, SMTPRecipientRefused, SMTPSenderRefused

from workers.email.network import NETWORK_ERRORS, describe
from workers.email.receipt import Fate, Receipt, judge, judge_data, judge_final, judge_recipient

if TYPE_CHECKING:
    import ssl

    from aiosmtplib.protocol import SMTPProtocol

    from kaguan.config.model import Smtp
    from kaguan.mail.message import Envelope
    from kaguan.mail.relay_host import RelayHost

DATA_CHUNK = 64 * 1024  # 字节；每块各有时限，慢而不断的对方因此不会被一刀切
START_INPUT = 354
_LEADING_DOT = re.compile(rb"(?m)^\.")
NO_SMTPUTF8 = Receipt(Fate.REFUSED, 553, "对方不支持 SMTPUTF8，无法投递国际化地址")


class UnreachableError(Exception):
    """没能得到可用的连接；此时肯定什么都没发出去。"""

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code


class Session:
    """一条已就绪的连接。任何网络错误之后即作废（``usable`` 为假）。"""

    def __init__(self, client: SMTP, config: Smtp) -> None:
        self._client = client
        self._config = config
        self.delivered = 0
        self.opened_at = self.used_at = asyncio.get_running_loop().time()

    @property
    def usable(self) -> bool:
        return self._client.is_connected

    async def alive(self) -> bool:
        """NOOP 一次：对方若早已关了连接，此刻知道好过投递到一半才知道。"""
        try:
            await self._client.noop()
        except NETWORK_ERRORS:
            self.abort()
        except BaseException:
            self.abort()  # 取消也不留下半开的连接
            raise
        return self.usable

    async def close(self) -> None:
        try:
            if self.usable:
                await self._client.quit(timeout=1)
        except NETWORK_ERRORS:
            pass
        finally:
            self._client.close()

    def abort(self) -> None:
        """立刻关闭，不告别：状态已不可知。"""
        self._client.close()

    async def deliver(self, envelope: Envelope, recipients: list[str]) -> dict[str, Receipt]:
        """投递给 ``recipients``（``envelope.recipients`` 的键）。

        Returns:
            每个收件人恰有一个结局。
        """
        if envelope.smtputf8 and not self._client.supports_extension("smtputf8"):
            return await self._deliver_plain(envelope.plain, recipients)
        receipts: dict[str, Receipt] = {}
        accepted: list[str] = []
        try:
            await self._start(envelope)
            for recipient in recipients:
                receipt = await self._recipient(envelope.recipients[recipient], utf8=envelope.smtputf8)
                if receipt.fate is Fate.ACCEPTED:
                    accepted.append(recipient)
                else:
                    receipts[recipient] = receipt
            outcome = await self._data(envelope.content) if accepted else None
        except SMTPSenderRefused as error:
            outcome = judge(error.code, error.message)
        except NETWORK_ERRORS as error:
            outcome = Receipt(Fate.DEFERRED, getattr(error, "code", None), describe(error))
            self.abort()
        if outcome is not None:
            receipts |= dict.fromkeys((name for name in recipients if name not in receipts), outcome)
        await self._reset(outcome)
        return receipts

    async def _deliver_plain(self, plain: Envelope | None, recipients: list[str]) -> dict[str, Receipt]:
        """对方不支持 SMTPUTF8：只有非 ASCII 的收件人被拒，其余的照寄。"""
        rest = [] if plain is None else [one for one in recipients if one in plain.recipients]
        receipts = {one: NO_SMTPUTF8 for one in recipients if one not in rest}
        return receipts if plain is None or not rest else receipts | await self.deliver(plain, rest)

    async def _start(self, envelope: Envelope) -> None:
        options = []
        if self._client.supports_extension("size"):
            options.append(f"SIZE={len(envelope.content)}")
        if envelope.smtputf8:
            options += ["SMTPUTF8", "BODY=8BITMIME"]
        await self._client.mail(envelope.sender, options=options, encoding=_encoding(utf8=envelope.smtputf8))

    async def _recipient(self, address: str, *, utf8: bool) -> Receipt:
        try:
            response = await self._client.rcpt(address, encoding=_encoding(utf8=utf8))
        except SMTPRecipientRefused as error:
            return judge_recipient(error.code, error.message)
        return judge(response.code, response.message)

    async def _data(self, content: bytes) -> Receipt:
        """点之前的失败是 deferred（由调用方接住），点之后没有应答是 unknown。"""
        response = await self._client.execute_command(b"DATA")
        if response.code != START_INPUT:
            return judge_data(response.code, response.message)
        protocol = self._client.protocol
        if protocol is None:
            raise ConnectionResetError("连接已断")
        await self._body(protocol, _stuffed(content))
        protocol.write(b".\r\n")
        try:
            final = await protocol.read_response(timeout=self._config.data_timeout)
        except NETWORK_ERRORS as error:
            self.abort()
            return Receipt(Fate.UNKNOWN, None, f"正文已发完，没有等到确认：{describe(error)}")
        self.delivered += 1
        return judge_final(final.code, final.message)

    async def _body(self, protocol: SMTPProtocol, stuffed: bytes) -> None:
        """把正文全部交给内核之后才返回：此后写点之前断开，就能断定对方没有收全。"""
        if protocol.transport is None:
            raise ConnectionResetError("连接已断")
        cast("asyncio.WriteTransport", protocol.transport).set_write_buffer_limits(high=0)
        for start in range(0, len(stuffed), DATA_CHUNK):
            protocol.write(stuffed[start : start + DATA_CHUNK])
            async with asyncio.timeout(self._config.timeout):
                await protocol._drain_helper()  # noqa: SLF001  库只给了不等待的 write；不等就分不清点发没发出去

    async def _reset(self, outcome: Receipt | None) -> None:
        """没走完 DATA 的事务要 RSET，连接才能接着用。"""
        if not self.usable or (outcome is not None and outcome.fate is Fate.ACCEPTED):
            return
        try:
            await self._client.rset()
        except NETWORK_ERRORS:
            self.abort()


async def open_session(relay: RelayHost, config: Smtp, tls: ssl.SSLContext, helo: str) -> Session:
    """连接、按策略加密、登录。

    Raises:
        UnreachableError: 任何一步没成。
    """
    client = SMTP(
        hostname=relay.host,
        port=relay.port,
        use_tls=relay.implicit_tls,
        start_tls=False,
        tls_context=tls,
        timeout=config.timeout,
        local_hostname=helo,
    )
    try:
        async with asyncio.timeout(config.timeout * 3):
            await client.connect()
            await client.ehlo()
            encrypted = relay.implicit_tls or await _starttls(client, config)
            await _login(client, relay, allowed=encrypted or config.starttls == "off")
    except UnreachableError:
        client.close()
        raise
    except NETWORK_ERRORS as error:
        client.close()
        raise UnreachableError(describe(error), getattr(error, "code", None)) from None
    except BaseException:
        client.close()
        raise
    return Session(client, config)


async def _starttls(client: SMTP, config: Smtp) -> bool:
    if config.starttls == "off":
        return False
    if not client.supports_extension("starttls"):
        if config.starttls == "required":
            raise UnreachableError("对方没有提供 STARTTLS，而配置要求加密")
        return False
    await client.starttls()
    await client.ehlo()
    return True


async def _login(client: SMTP, relay: RelayHost, *, allowed: bool) -> None:
    """只有配置明说不用 STARTTLS 时才明文登录；被人剥掉 STARTTLS 不算。"""
    if relay.username is None:
        return
    if not allowed:
        raise UnreachableError("对方没有提供 STARTTLS，拒绝明文登录")
    await client.login(relay.username, relay.password or "")


def _stuffed(content: bytes) -> bytes:
    """点填充（RFC 5321 §4.5.2）；十兆附件里多半一个点都没有，先看一眼省得整体替换。"""
    return _LEADING_DOT.sub(b"..", content) if b"\n." in content or content.startswith(b".") else content


def _encoding(*, utf8: bool) -> str:
    return "utf-8" if utf8 else "ascii"
