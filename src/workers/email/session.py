"""一条 SMTP 连接：查活、投递一封信。投递的结局是值，逐收件人。

命令与应答用 aiosmtplib；正文自己写：它的 ``data()`` 把正文与最后的点一次放进缓冲，断了就分不清对方会不会收全。
"""

from __future__ import annotations

import asyncio
import re
import ssl

from aiosmtplib import SMTPRecipientRefused, SMTPSenderRefused

from kaguan.config.model import Smtp
from kaguan.config.relay_host import RelayHost
from kaguan.mail.connection import SmtpLink, open_link
from kaguan.mail.failure import NETWORK_ERRORS, describe, reply_code
from kaguan.mail.message import Envelope
from kaguan.words.reasons import Reason
from workers.email.receipt import Receipt, RecipientOutcome, judge, judge_data, judge_final, judge_recipient

START_INPUT = 354
ALIVE = 2.0  # 秒：闲着的连接问一声，这么久不答就换一条，别把一封信的时限花在它身上
_LEADING_DOT = re.compile(rb"(?m)^\.")
NO_SMTPUTF8 = Receipt(RecipientOutcome.REFUSED, 553, Reason("mail.no_smtputf8"))


class SmtpSession:
    """一条已就绪的连接。任何网络错误之后即作废（``usable`` 为假）。正文 ``chunk`` 字节一块地发。"""

    def __init__(self, link: SmtpLink, config: Smtp, chunk: int) -> None:
        self._link = link
        self._client = link.client
        self._config = config
        self._chunk = chunk
        self.delivered = 0
        self.opened_at = self.used_at = asyncio.get_running_loop().time()

    @property
    def usable(self) -> bool:
        return self._client.is_connected

    async def alive(self) -> bool:
        """RSET 一次：上一封没走完的事务作废；对方若早已关了连接，此刻知道好过投递到一半才知道。"""
        try:
            await self._client.rset(timeout=ALIVE)
        except NETWORK_ERRORS:
            self.abort()
        except BaseException:
            self.abort()  # 取消也不留下半开的连接
            raise
        return self.usable

    async def close(self) -> None:
        await self._link.close()

    def abort(self) -> None:
        """立刻关闭，不告别：状态已不可知。"""
        self._link.abort()

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
                if receipt.outcome is RecipientOutcome.ACCEPTED:
                    accepted.append(recipient)
                else:
                    receipts[recipient] = receipt
            outcome = await self._data(envelope.content) if accepted else None
        except SMTPSenderRefused as error:
            outcome = judge(error.code, error.message)
        except NETWORK_ERRORS as error:
            outcome = Receipt(RecipientOutcome.DEFERRED, reply_code(error), describe(error))
            self.abort()
        if outcome is not None:
            receipts |= dict.fromkeys((name for name in recipients if name not in receipts), outcome)
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
        stuffed = _stuffed(content)
        for start in range(0, len(stuffed), self._chunk):
            protocol.write(stuffed[start : start + self._chunk])
            await self._link.flushed(self._config.timeout)
        # 正文此刻全在内核里，点还没有写：在这之前断开，就能断定对方没有收全
        protocol.write(b".\r\n")
        try:
            final = await protocol.read_response(timeout=self._config.data_timeout)
        except NETWORK_ERRORS as error:
            self.abort()
            return Receipt(RecipientOutcome.UNKNOWN, None, Reason("mail.unconfirmed", {"reason": describe(error)}))
        self.delivered += 1
        return judge_final(final.code, final.message)


async def open_session(relay: RelayHost, config: Smtp, tls: ssl.SSLContext, helo: str, chunk: int) -> SmtpSession:
    """连接、按策略加密、登录。

    Raises:
        UnreachableError: 任何一步没成。
    """
    return SmtpSession(await open_link(relay, config, tls, helo), config, chunk)


def _stuffed(content: bytes) -> bytes:
    """点填充（RFC 5321 §4.5.2）；十兆附件里多半一个点都没有，先看一眼省得整体替换。"""
    return _LEADING_DOT.sub(b"..", content) if b"\n." in content or content.startswith(b".") else content


def _encoding(*, utf8: bool) -> str:
    return "utf-8" if utf8 else "ascii"
