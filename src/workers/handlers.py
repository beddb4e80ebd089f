"""处理器的装配：各自的连接在此打开，离开时关闭。"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from kaguan.carriers.build import open_gateways
from kaguan.config.model import UncertainPolicy
from kaguan.sims.events import ChangeEvents
from kaguan.tasks.model import TaskType
from kaguan.telemetry.metrics import BREAKER_STATES
from workers.email.handler import EmailHandler
from workers.email.transport import open_mailer
from workers.email.verifying import EmailVerify, open_lookup
from workers.event.handler import EventPublish
from workers.event.webhook import open_webhook
from workers.sim.handler import SimStatusSync
from workers.sync.handler import DataSync
from workers.sync.statuses import StatusRecorder
from workers.verification import Verified

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from redis.asyncio import Redis

    from kaguan.config import Settings
    from kaguan.telemetry.metrics import Metrics
    from workers.attempt import Handler


@asynccontextmanager
async def open_handlers(
    settings: Settings, redis: Redis, metrics: Metrics
) -> AsyncIterator[Mapping[TaskType, Handler]]:
    """每种任务类型的处理器。"""

    def carrier_called(carrier: str, operation: str, outcome: str, seconds: float) -> None:
        metrics.carrier_calls.labels(carrier, operation, outcome).inc()
        metrics.carrier_seconds.labels(carrier, operation).observe(seconds)

    def breaker_changed(carrier: str, state: str) -> None:
        metrics.breaker_state.labels(carrier).set(BREAKER_STATES[state])

    def unknown_codes(carrier: str, count: int) -> None:
        metrics.carrier_unknown_codes.labels(carrier).inc(count)

    def mail_sent(recipients: Mapping[str, int], seconds: float) -> None:
        for outcome, count in recipients.items():
            metrics.smtp.labels(outcome).inc(count)
        metrics.smtp_seconds.observe(seconds)

    async with AsyncExitStack() as stack:
        mailer = await stack.enter_async_context(open_mailer(settings.smtp, redis))
        gateways = await stack.enter_async_context(
            open_gateways(settings.carriers, redis, carrier_called, breaker_changed)
        )
        for carrier in gateways:
            metrics.carrier_unknown_codes.labels(carrier)  # 从 0 起：第一次也看得见
        email: Handler = EmailHandler(mailer, settings.smtp.sender, mail_sent)
        if settings.smtp.verify_url:
            lookup = await stack.enter_async_context(open_lookup(settings.smtp.verify_url, settings.smtp.timeout))
            email = Verified(email, EmailVerify(lookup), resend=settings.smtp.uncertain is UncertainPolicy.RESEND)
        webhook = await stack.enter_async_context(open_webhook(settings.webhooks))
        events = ChangeEvents(settings.tasks.max_retries + 1) if settings.webhooks.url else None
        statuses = StatusRecorder(events, unknown_codes)
        yield {
            TaskType.EMAIL_SEND: email,
            TaskType.SIM_STATUS_SYNC: SimStatusSync(gateways, settings.carriers, statuses),
            TaskType.DATA_SYNC: DataSync(gateways, statuses),
            TaskType.EVENT_PUBLISH: EventPublish(webhook),
        }
