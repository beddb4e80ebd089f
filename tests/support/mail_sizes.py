"""测试用的邮件：各种大小，直到 API 收得下的最大一封。"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from uuid import UUID, uuid4

from kaguan.config.model import Api
from kaguan.mail.address import MAX_ATTACHMENT_BYTES
from kaguan.mail.message import Envelope, build
from kaguan.words.units import KIB, MIB
from tests.support.mail_tasks import SENDER, mail_to

SIZES = (1 * KIB, 16 * KIB - 1, 16 * KIB, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 110 * KIB, 1 * MIB)
RECIPIENT = "x@kaguan.example"


def letter(size: int) -> Envelope:
    """恰好 ``size`` 字节的邮件；点开头的行在内。"""
    message_id = f"<{uuid4()}@kaguan.example>"
    head = (
        f"From: a@kaguan.example\r\nTo: {RECIPIENT}\r\nSubject: t\r\n"
        f"Message-ID: {message_id}\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\n\r\n"
    ).encode("ascii")
    lines = (b"." + b"x" * 69 + b"\r\n") * (size // 72 + 1)
    content = (head + lines)[: size - 2] + b"\r\n"
    return Envelope(message_id, "a@kaguan.example", {RECIPIENT: RECIPIENT}, content, smtputf8=False)


def largest() -> Envelope:
    """附件到顶，请求体余下的都给正文。"""
    attachment = base64.b64encode(bytes(MAX_ATTACHMENT_BYTES)).decode()
    body = "卡" * ((Api().body_limit - len(attachment)) // 3)
    one = {"filename": "a.bin", "content_type": "application/octet-stream", "content_base64": attachment}
    payload = mail_to(RECIPIENT, body=body, attachments=[one])
    return build(payload, UUID(str(uuid4())), SENDER, datetime(2026, 1, 1, tzinfo=UTC))
