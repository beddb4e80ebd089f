"""业务事件 → 待发的邮件，由用户、订单的服务在自己的事务里入箱：与实体同生共死（I4）。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from kaguan.database.pool import AfterCommit, Connection
from kaguan.mail.render import Rendered, Template, render
from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox.accept.acceptance import Count, Submission, accept_one, uncounted
from kaguan.words.currency import format_amount
from kaguan.words.language import Language


@dataclass(frozen=True, slots=True)
class MailOutbox:
    """邮件的发件箱：以谁的名义、至多试几次。

    ``after_commit`` 收下提交之后才做的事，``language`` 是邮件用的语言，``count`` 提交之后计数。
    """

    principal: str
    max_attempts: int
    after_commit: AfterCommit
    language: Language = "zh"
    count: Count = uncounted

    async def email(self, connection: AsyncConnection, payload: EmailPayload) -> UUID:
        """暂存一封邮件；连接必须已在事务中，随它提交。返回任务号。"""
        raw = cast("Connection", (await connection.get_raw_connection()).driver_connection)
        submission = Submission(EMAIL_SEND, payload, principal=self.principal)
        return (await accept_one(raw, submission, self.max_attempts, self.after_commit, self.count)).task_id


def welcome_mail(username: str, email: str, language: Language = "zh") -> EmailPayload:
    """用户创建后的欢迎邮件。"""
    return _payload(email, render(Template.WELCOME, language, username=username, email=email))


def order_mail(
    status: str,
    order_id: str,
    amount: int,
    currency: str,
    email: str,
    username: str,
    language: Language = "zh",
) -> EmailPayload:
    """订单创建与每次状态变更的邮件。``amount`` 是最小货币单位。"""
    rendered = render(
        Template.ORDER,
        language,
        status=status,
        order_id=order_id,
        amount=format_amount(amount, currency),
        currency=currency,
        username=username,
    )
    return _payload(email, rendered)


def _payload(email: str, rendered: Rendered) -> EmailPayload:
    return EmailPayload(to=(email,), subject=rendered.subject, body=rendered.text, html=rendered.html)
