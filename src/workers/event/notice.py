"""task:notify：把任务的结局推给提交者的 webhook。至少一次；各次尝试的 ``webhook-id`` 不变，对方据此去重。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import orjson

from kaguan.config.webhooks import Webhooks
from kaguan.notices import service
from kaguan.notices.service import Subject
from kaguan.notices.task import NoticePayload
from kaguan.outbox.vocabulary import FINAL, TaskStatus
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Discard, Done, Outcome, Snooze
from kaguan.words.reasons import Reason
from workers.event.webhook import Webhook, open_session
from workers.resources import Resources

TOLD = FINAL | {TaskStatus.UNCERTAIN}  # 结局不明的要等人：也该让提交者知道
LATER = 5.0  # 秒


@dataclass(frozen=True, slots=True)
class TaskNotify:
    session: aiohttp.ClientSession
    config: Webhooks

    async def __call__(self, attempt: Attempt[NoticePayload]) -> Outcome:
        async with attempt.pool.connection() as connection:
            subject = await service.subject_of(connection, attempt.task_id)
        if subject is None:
            return Done({"told": False})
        if subject.status not in TOLD:  # 有了结局、还没告诉，人又让它重来
            return Snooze(Reason("notices.reopened"), delay=LATER)
        target = self.config.target(subject.principal)
        if target is None:
            return Discard(Reason("notices.nobody", {"principal": subject.principal}))
        async with attempt.outside("webhook"):
            return await Webhook(self.session, target.url, target.key).post(attempt, body_of(subject))


@asynccontextmanager
async def open_notice(resources: Resources) -> AsyncIterator[TaskNotify]:
    config = resources.settings.webhooks
    async with open_session(config) as session:
        yield TaskNotify(session, config)


def body_of(subject: Subject) -> bytes:
    """对方收到的 JSON；只说是谁、怎样了，结果与错误的细节凭 ``task_id`` 来取。"""
    data = {
        "v": 1,
        "task_id": subject.task_id,
        "type": subject.type,
        "request_id": subject.request_id,
        "principal": subject.principal,
        "status": subject.status,
        "attempts": subject.attempts,
        "error_code": subject.error_code,
    }
    return orjson.dumps({"type": "task.ended", "timestamp": subject.at, "data": data})
