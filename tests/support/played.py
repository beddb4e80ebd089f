"""一个处理器演全部类型：要先查证的带着它的查证，别的不带。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kaguan.outbox.task_type import TaskType, Unknown
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.outcome import Outcome
from kaguan.outbox.work.verification import Verified, VerifiedOutcome


def played(task_type: TaskType[Any], handler: Handler[Any]) -> Handler[Any]:
    """``handler`` 演这一种：要先查证的带着它的查证，别的不带。"""
    if task_type.unknown is Unknown.VERIFY:
        return handler if isinstance(handler, Verified) else Verified(handler, unasked, resend=False)
    return Playing(handler.handler if isinstance(handler, Verified) else handler)


async def unasked(attempt: Attempt) -> VerifiedOutcome | None:
    """没有不明的，不会来问。"""
    raise AssertionError(attempt.task_id)


@dataclass(frozen=True, slots=True)
class Playing:
    """演什么类型都可以的处理器：自己没有记意向的，就是没有叫外面。"""

    handler: Handler[Any]

    async def __call__(self, attempt: Attempt) -> Outcome:
        attempt.calls_nobody = True
        return await self.handler(attempt)
