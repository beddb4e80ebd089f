"""verdict:push：把判断的变化推到 ``alerts.url``。至少一次；各次尝试的 ``webhook-id`` 不变，对方据此去重。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import orjson

from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Discard, Outcome
from kaguan.verdict.task import PushPayload
from kaguan.words.reasons import Reason
from workers.event.webhook import Webhook, open_webhook
from workers.resources import Resources


@dataclass(frozen=True, slots=True)
class VerdictPush:
    """``webhook`` 为空即没有配置：入箱之后配置被撤掉的，就此作罢。"""

    webhook: Webhook | None

    async def __call__(self, attempt: Attempt[PushPayload]) -> Outcome:
        if self.webhook is None:
            return Discard(Reason("verdict.nobody"))
        async with attempt.outside("webhook"):
            return await self.webhook.post(attempt, body_of(attempt.task_id, attempt.payload))


@asynccontextmanager
async def open_push(resources: Resources) -> AsyncIterator[VerdictPush]:
    async with open_webhook(resources.settings.alerts) as webhook:
        yield VerdictPush(webhook)


def body_of(task_id: UUID, payload: PushPayload) -> bytes:
    """对方收到的 JSON：``{type, timestamp, data}``；``data.id`` 与 ``webhook-id`` 相同。"""
    told = payload.model_dump(mode="json", exclude={"event", "at"})
    return orjson.dumps(
        {"type": payload.event, "timestamp": payload.at, "data": {"v": told.pop("v"), "id": task_id, **told}}
    )
