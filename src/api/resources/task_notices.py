"""要了通知的任务：与通知在同一个事务里受理。"""

from __future__ import annotations

from typing import Any

from api.endpoints.call import Call
from kaguan.notices.service import with_notice
from kaguan.outbox.accept.acceptance import Accepted, Submission, accept_many
from kaguan.words.errors import DomainError, invalid


async def accept_with_notice(call: Call[Any, Any], submission: Submission[Any]) -> Accepted:
    """受理任务与它的通知，要么都在，要么都不在。

    Raises:
        DomainError: 1001 没有配置本令牌的 webhook；1011 ``request_id`` 已用于内容不同的任务。
    """
    services, connection = call.services, await call.unit.raw()
    refuse_unheard(call)
    attempts, count = services.settings.tasks.max_attempts, services.metrics.count_accepted
    async with connection.transaction():
        pair = with_notice(submission)
        accepted, _ = await accept_many(connection, pair, attempts, call.unit.after_commit, count)
        if isinstance(accepted, DomainError):
            raise accepted  # 通知也一并撤回
    return accepted


def refuse_unheard(call: Call[Any, Any]) -> None:
    """没有地方可推的，受理时就说，不等到有了结局。

    Raises:
        DomainError: 1001。
    """
    if call.services.settings.webhooks.target(call.principal.name) is None:
        raise invalid("notify", "没有配置本令牌的 webhook", "no webhook is configured for this token")
