"""email:send：一封邮件。再寄一次收不回，所以先记意向；结局不明的按配置重寄、查证或等人。"""

from __future__ import annotations

from dataclasses import replace

from pydantic import BaseModel, ConfigDict

from kaguan.config.model import Smtp, UncertainPolicy
from kaguan.outbox.task_type import Effect, Payload, TaskType, Unknown


class AttachmentPayload(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    filename: str
    content_type: str
    content_base64: str


class EmailPayload(Payload):
    """收件人各是单个 addr-spec，已在受理时校验；由模板写的信也已渲染好，这里只有成文。"""

    to: tuple[str, ...]
    cc: tuple[str, ...] = ()
    subject: str
    body: str
    html: str | None = None
    attachments: tuple[AttachmentPayload, ...] = ()


IN_HAND = 5  # 一条连接几封在手里：连接总有活干，读信、记意向与结算又叠得起来
EMAIL_SEND = TaskType(
    "email:send",
    EmailPayload,
    Effect.ONCE,
    Unknown.HOLD,
    shareable=True,
    rows=("tb_email_delivery",),
    summary=("to", "subject"),
)


def email_send(smtp: Smtp) -> TaskType[EmailPayload]:
    """按配置定下名额与结局不明怎么办：有查证接口的先问，否则照 ``smtp.uncertain``。"""
    limit = IN_HAND * smtp.connections
    if smtp.verify_url:
        return replace(EMAIL_SEND, limit=limit, unknown=Unknown.VERIFY)
    unknown = Unknown.RESEND if smtp.uncertain is UncertainPolicy.RESEND else Unknown.HOLD
    return replace(EMAIL_SEND, limit=limit, unknown=unknown)
