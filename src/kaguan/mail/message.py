"""由载荷与任务号得到要发出的字节。同一任务的每次尝试逐字节相同：Message-ID、Date、分界串都由输入决定。"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, getaddresses
from uuid import UUID

from kaguan.mail import header
from kaguan.mail.address import (
    MAX_ATTACHMENT_BYTES,
    MAX_ATTACHMENTS,
    MAX_RECIPIENTS,
    check_attachment,
    check_header,
    check_text,
    parse_address,
    wire_address,
)
from kaguan.mail.task import AttachmentPayload, EmailPayload
from kaguan.words.reasons import Reason, ReasonError


class UnsendableError(ReasonError):
    """载荷无论试多少次都变不成一封合法的邮件。原因说明是哪一处，不含正文与地址。"""


@dataclass(frozen=True, slots=True)
class Envelope:
    """一封可以交给 SMTP 的邮件。

    Attributes:
        sender: MAIL FROM。
        recipients: 载荷里的地址 → RCPT TO 用的形式；收件人只取自这里，从不取自头部。
        content: 行尾为 CRLF 的完整邮件，未作点填充。
        smtputf8: 需要对方支持 SMTPUTF8（RFC 6531）。
        plain: 对方不支持时改用的：只有 ASCII 的收件人；一个也没有即为 None。
    """

    message_id: str
    sender: str
    recipients: dict[str, str]
    content: bytes
    smtputf8: bool
    plain: Envelope | None = None


def sender_address(sender: str) -> tuple[str, str]:
    """配置里的发件人 → (显示名, 地址)。

    Raises:
        UnsendableError: 不是合法的发件人。
    """
    mailboxes = getaddresses([sender])
    name, address = mailboxes[0] if mailboxes else ("", "")
    parsed = parse_address(address)
    if len(mailboxes) != 1 or parsed is None or check_header(sender) is not None:
        raise UnsendableError(Reason("mail.bad_sender"))
    return name, wire_address(parsed)


def helo_name(sender: str) -> str:
    """EHLO 时自报的名字：发件域。

    Raises:
        UnsendableError: 不是合法的发件人。
    """
    return wire_address(sender_address(sender)[1]).rpartition("@")[2]


def message_id(task_id: UUID, sender: str) -> str:
    """``<任务号@发件域>``：重发也不变，收件端可据此去重。"""
    domain = sender.rpartition("@")[2]
    return f"<{task_id}@{wire_address(f'a@{domain}').removeprefix('a@')}>"


def build(payload: EmailPayload, task_id: UUID, sender: str, date: datetime, identifier: str | None = None) -> Envelope:
    """组装邮件。

    Args:
        payload: 任务载荷。
        task_id: 任务号，决定 Message-ID 与分界串。
        sender: 发件人，``显示名 <地址>``。
        date: Date 头；各次尝试须给同一个值。
        identifier: 先前的尝试用过的 Message-ID：发件域换了配置也不变。

    Raises:
        UnsendableError: 收件人、标题或附件不合格。
    """
    name, address = sender_address(sender)
    recipients = recipients_of(payload)
    identifier = identifier or message_id(task_id, address)
    body = _body(payload, task_id).as_bytes()

    def addressed_to(chosen: dict[str, str]) -> Envelope:
        head = "".join(_headers(payload, identifier, (name, address), chosen, date))
        smtputf8 = not (address + "".join(chosen.values())).isascii()
        return Envelope(identifier, address, chosen, head.encode("utf-8") + body, smtputf8)

    envelope = addressed_to(recipients)
    # RFC 6531 §3.2：对方不支持 SMTPUTF8，信封与头部就都不许有非 ASCII 的地址；To、Cc 里略去它们，
    # 不用 RFC 6857 的占位组：那是收件端给旧客户端看的，由发信方写会让人回复到不存在的地址
    ascii_only = {one: wire for one, wire in recipients.items() if wire.isascii()}
    if envelope.smtputf8 and address.isascii() and ascii_only:
        return replace(envelope, plain=addressed_to(ascii_only))
    return envelope


def _headers(
    payload: EmailPayload, identifier: str, sender: tuple[str, str], recipients: dict[str, str], date: datetime
) -> Iterator[str]:
    fault = check_header(payload.subject)
    if fault is not None:
        raise UnsendableError(Reason("mail.bad_subject", {"reason": fault}))
    yield f"Message-ID: {identifier}\r\n"
    yield f"Date: {format_datetime(date.replace(microsecond=0))}\r\n"
    yield header.named_mailbox("From", *sender)
    for header_name, texts in (("To", payload.to), ("Cc", payload.cc)):
        if addresses := _addresses(texts, recipients):
            yield header.mailboxes(header_name, addresses)
    yield header.unstructured("Subject", payload.subject)


def recipients_of(payload: EmailPayload) -> dict[str, str]:
    """收件人 → RCPT TO 用的形式。

    Raises:
        UnsendableError: 有不合格的，或一个也没有、太多。
    """
    recipients: dict[str, str] = {}
    for text in (*payload.to, *payload.cc):
        parsed = parse_address(text)
        if parsed is None:
            raise UnsendableError(Reason("mail.bad_recipient"))
        recipients[parsed] = wire_address(parsed)
    if not 1 <= len(recipients) <= MAX_RECIPIENTS or not payload.to:
        raise UnsendableError(Reason("mail.recipients", {"limit": MAX_RECIPIENTS}))
    return recipients


def _addresses(texts: Sequence[str], recipients: dict[str, str]) -> list[str]:
    parsed = dict.fromkeys(parse_address(text) or "" for text in texts)
    return [recipients[address] for address in parsed if address in recipients]


def _body(payload: EmailPayload, task_id: UUID) -> EmailMessage:
    for text in (payload.body, payload.html or ""):
        fault = check_text(text)
        if fault is not None:
            raise UnsendableError(Reason("mail.bad_body", {"reason": fault}))
    message = EmailMessage(policy=SMTP)
    message.set_content(payload.body, cte=_transfer_encoding(payload.body))
    if payload.html is not None:
        message.add_alternative(payload.html, subtype="html", cte=_transfer_encoding(payload.html))
    for attachment in _decoded(payload.attachments):
        if message.get_content_type() != "multipart/mixed":
            message.make_mixed()
        message.attach(_part(*attachment))
    # 「=_」不会出现在 base64 或 quoted-printable 里，因此分界串与内容永不相撞
    for index, part in enumerate(message.walk()):
        if part.is_multipart():
            part.set_boundary(f"=_kaguan_{task_id.hex}_{index}")
    return message


def _part(filename: str, content_type: str, content: bytes) -> EmailMessage:
    part = EmailMessage(policy=SMTP)
    maintype, _, subtype = content_type.partition("/")
    part.set_content(content, maintype=maintype, subtype=subtype, cte="base64")
    part.set_raw("Content-Disposition", header.disposition(filename))
    return part


def _transfer_encoding(text: str) -> str:
    """从不用 7bit / 8bit：编码过的正文里不会有过长的行，也不会出现分界串。"""
    return "quoted-printable" if text.isascii() else "base64"


def _decoded(attachments: Sequence[AttachmentPayload]) -> list[tuple[str, str, bytes]]:
    if len(attachments) > MAX_ATTACHMENTS:
        raise UnsendableError(Reason("mail.attachments", {"limit": MAX_ATTACHMENTS}))
    decoded = []
    for item in attachments:
        try:
            content = base64.b64decode(item.content_base64, validate=True)
        except (binascii.Error, ValueError):
            raise UnsendableError(Reason("mail.bad_base64")) from None
        fault = check_attachment(item.filename, item.content_type, len(content))
        if fault is not None:
            raise UnsendableError(Reason("mail.bad_attachment", {"reason": fault}))
        decoded.append((item.filename, item.content_type, content))
    if sum(len(content) for _, _, content in decoded) > MAX_ATTACHMENT_BYTES:
        raise UnsendableError(Reason("mail.attachments_size", {"limit": MAX_ATTACHMENT_BYTES}))
    return decoded
