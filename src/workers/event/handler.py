"""event:publish：把一批卡状态变更推给 ``webhooks.url``。至少一次；同一事件的 ``webhook-id`` 不变，对方据此去重。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson

from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Discard, Outcome
from kaguan.sims.tasks import EventPayload
from kaguan.words.reasons import Reason
from workers.event.webhook import Webhook, open_webhook
from workers.resources import Resources


@dataclass(frozen=True, slots=True)
class EventPublish:
    """``webhook`` 为空即没有配置：入箱之后配置被撤掉的，就此作罢。"""

    webhook: Webhook | None

    async def __call__(self, attempt: Attempt[EventPayload]) -> Outcome:
        if self.webhook is None:
            return Discard(Reason("sims.webhook_missing"))
        async with attempt.outside("webhook"):
            return await self.webhook.post(attempt, body_of(attempt.payload))


@asynccontextmanager
async def open_event(resources: Resources) -> AsyncIterator[EventPublish]:
    async with open_webhook(resources.settings.webhooks) as webhook:
        yield EventPublish(webhook)


def body_of(payload: EventPayload) -> bytes:
    """对方收到的 JSON：``{type, timestamp, data}``；逐次逐字节相同。"""
    changes = [change.model_dump(mode="json") for change in payload.changes]
    data = {"v": payload.v, "changes": changes}
    return orjson.dumps({"type": payload.event, "timestamp": changes[-1]["at"], "data": data})
