"""业务事件 → 待发邮件的载荷。由用户、订单的服务在自己的事务里入箱（T059）。"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaguan.mail.render import Language, Rendered, Template, render
from kaguan.orders.currency import format_amount
from kaguan.tasks.payloads import EmailPayload

if TYPE_CHECKING:
    from kaguan.orders.model import OrderStatus


def welcome_mail(username: str, email: str, language: Language = "zh") -> EmailPayload:
    """用户创建后的欢迎邮件。"""
    return _payload(email, render(Template.WELCOME, language, username=username, email=email))


def order_mail(
    status: OrderStatus,
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
        status=status.value,
        order_id=order_id,
        amount=format_amount(amount, currency),
        currency=currency,
        username=username,
    )
    return _payload(email, rendered)


def _payload(email: str, rendered: Rendered) -> EmailPayload:
    return EmailPayload(to=(email,), subject=rendered.subject, body=rendered.text, html=rendered.html)
