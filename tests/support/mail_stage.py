"""一条真的流水线与一台真的 SMTP 服务器：信寄出去了，进程在结算之前死。"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox.accept import acceptance as service
from kaguan.outbox.task_type import TaskTypes, Unknown
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.outcome import Outcome
from kaguan.product.task_types import TASK_TYPES
from tests.support.mail_tasks import mail_to
from tests.support.pipeline import MAX_ATTEMPTS, Pipeline, stepped_relay
from tests.support.smtp_server import SmtpServer
from workers.email.handler import EmailHandler
from workers.email.transport import Mailer

RESEND = TaskTypes(replace(EMAIL_SEND, unknown=Unknown.RESEND) if one is EMAIL_SEND else one for one in TASK_TYPES)
HOLD = TaskTypes(TASK_TYPES)


@dataclass
class DiesBeforeSettling:
    """真的把信寄出去，然后像被 SIGKILL 的进程那样再无下文；叫它醒来，就是停过头的僵尸。"""

    handler: EmailHandler
    sent: asyncio.Event = field(default_factory=asyncio.Event)
    wakes: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, attempt: Attempt[EmailPayload]) -> Outcome:
        outcome = await self.handler(attempt)
        self.sent.set()
        await self.wakes.wait()
        return outcome


@dataclass
class Stage:
    pipeline: Pipeline
    server: SmtpServer
    handler: EmailHandler
    away: Mailer  # 连不上的中继

    async def submit(self, *recipients: str) -> UUID:
        submission = service.Submission(EMAIL_SEND, mail_to(*(recipients or ("a@x.example",))))
        async with self.pipeline.pool.connection() as connection:
            return (await service.accept_one(connection, submission, MAX_ATTEMPTS)).task_id

    async def deliver(self, task_id: UUID, handler: Handler[Any], resend: TaskTypes = HOLD) -> None:
        await self.pipeline.forwarder.run_once()
        record = await self.pipeline.task(task_id)
        execution = self.pipeline.execution(handler, types=resend.values())
        await execution({}, deliveries=[(str(task_id), record.delivery)])

    async def die_after_sending(self, task_id: UUID) -> None:
        dying = DiesBeforeSettling(self.handler)
        running = asyncio.create_task(self.deliver(task_id, dying))
        await dying.sent.wait()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        expire = "update tb_work set lease_until = clock_timestamp() - interval '1 s' where task_id = %s"
        await self.pipeline.sql(expire, task_id)

    async def redrive(self, resend: TaskTypes) -> None:
        """另一个 relay 收回租约，它认得的类型是 ``resend``。"""
        here = self.pipeline
        relay = stepped_relay(here.settings, here.pool, here.redis, here.metrics, resend.values())
        await relay.lease.run_once()
