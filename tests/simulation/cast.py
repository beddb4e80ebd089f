"""角色的零件：与组合根相同的类，只换了连接与客户端。"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from redis.asyncio import ConnectionPool

from kaguan.audit import store as audit
from kaguan.config import Settings
from kaguan.config.model import UncertainPolicy
from kaguan.database.pool import Pool
from kaguan.idempotency import store as idempotency
from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.relay import Relay, Timing
from kaguan.outbox.testing.stepped import SteppedPool
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.fence import Token
from kaguan.outbox.work.leases import Leases
from kaguan.outbox.work.outcome import Outcome
from kaguan.outbox.work.verification import Verified, VerifiedOutcome
from kaguan.outbox.worker import Worker
from kaguan.product.task_types import task_types
from kaguan.sims.tasks import SIM_STATUS_SYNC
from tests.simulation.broker import SteppedRedis
from tests.simulation.outside import Index, Ledger, Outside, PostOffice
from tests.simulation.process import Process
from tests.support.played import played
from workers.email.handler import EmailHandler
from workers.email.transport import Mailer
from workers.email.verifying import EmailVerify

UNKNOWN_PATIENCE = 1e-9  # 秒：头一次看见只搁下，再看见就是毒丸


@dataclass(slots=True)
class RelayParts:
    works: dict[str, Callable[[], Awaitable[object]]]


@dataclass(slots=True)
class WorkerParts:
    works: dict[str, Callable[[], Awaitable[object]]]
    leases: Leases


def relay_loops(
    settings: Settings, process: Process, stepped: SteppedPool, sockets: ConnectionPool, metrics: Metrics
) -> RelayParts:
    relay = Relay(
        cast("Pool", stepped),
        SteppedRedis.of(process, sockets),
        task_types(settings.smtp).values(),
        settings.relay,
        settings.tasks,
        # 没有停机的宽限：租约到期与否由虚拟时钟说
        settings.worker.model_copy(update={"lease": 0.0}),
        schedules=settings.schedules,
        expiries={
            "idempotency_keys": idempotency.expire,
            "audits": partial(audit.expire, days=settings.tasks.audit_retention_days),
        },
        metrics=metrics,
        timing=Timing(unknown_patience=UNKNOWN_PATIENCE, taken_patience=0.0, hold=0.0, thrift=0.0),
    )
    return RelayParts({name: loop.run_once for name, loop in relay.loops.items()})


def worker_parts(
    settings: Settings,
    process: Process,
    stepped: SteppedPool,
    sockets: ConnectionPool,
    outside: Outside,
    metrics: Metrics,
) -> WorkerParts:
    own: dict[str, Handler[Any]] = {
        EMAIL_SEND.name: _mail(settings, process, outside),
        SIM_STATUS_SYNC.name: Ledger(outside, process, plain=False),
    }
    types = task_types(settings.smtp)
    worker = Worker(
        cast("Pool", stepped),
        SteppedRedis.of(process, sockets),
        {one: own.get(name) or played(one, Ledger(outside, process, plain=True)) for name, one in types.items()},
        settings.worker,
        settings.tasks,
        metrics=metrics,
        name=process.name,
    )
    works: dict[str, Callable[[], Awaitable[object]]] = {"beat": worker.leases.run_once}
    consumer = worker.consumer()
    for priority in Priority:
        works[f"take-{priority}"] = consumer.taker(priority, dequeue_timeout=0.01).process
    return WorkerParts(works, worker.leases)


def _mail(settings: Settings, process: Process, outside: Outside) -> Handler[Any]:
    """真的邮件处理器，对面是一间记得住的邮局；配置了查证的，不明时去问它的投递日志。"""
    scripts: dict[str, str | None] = {}
    begun: set[Token] = set()
    email = EmailHandler(cast("Mailer", PostOffice(outside, process, scripts)), settings.smtp.sender)
    index = EmailVerify(Index(outside, process), settings.smtp.sender)

    def begin(attempt: Attempt) -> None:
        if attempt.token not in begun:
            begun.add(attempt.token)
            outside.starts.append(attempt.task_id)
        scripts[str(attempt.task_id)] = attempt.request_id

    async def send(attempt: Attempt[EmailPayload]) -> Outcome:
        begin(attempt)
        return await email(attempt)

    async def verify(attempt: Attempt[EmailPayload]) -> VerifiedOutcome | None:
        begin(attempt)
        return await index(attempt)

    if settings.smtp.verify_url:
        return Verified(send, verify, settings.smtp.uncertain is UncertainPolicy.RESEND)
    return send


PRIORITIES = tuple(Priority)
