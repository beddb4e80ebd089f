"""角色的零件：与组合根相同的类，只换了连接与客户端。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from kaguan.config.model import UncertainPolicy
from kaguan.outbox.deliveries import build_queues
from kaguan.outbox.relay.epoch import EpochRedrive
from kaguan.outbox.relay.forward import Forwarder
from kaguan.outbox.relay.ordering import OrderingRelease
from kaguan.outbox.relay.redrive import LeaseRedrive, OrphanRedrive, PresenceRedrive
from kaguan.outbox.relay.retention import Retention
from kaguan.outbox.relay.schedules import Schedules
from kaguan.outbox.upgrade import Sightings
from kaguan.outbox.vocabulary import Priority, TaskType
from kaguan.outbox.worker.consumer import QuietWorker
from kaguan.outbox.worker.duplicates import DuplicateGuard
from kaguan.outbox.worker.execution import Execution
from kaguan.outbox.worker.leases import Leases
from kaguan.outbox.worker.pace import Pace
from kaguan.outbox.worker.settlement import Settlement
from kaguan.outbox.worker.verification import Verified
from kaguan.tasks.uncertain import redelivered_kinds
from kaguan.telemetry.metrics import Metrics
from tests.simulation.broker import SteppedRedis
from tests.simulation.outside import Index, Ledger, Outside, PostOffice
from workers.email.handler import EmailHandler
from workers.email.verifying import EmailVerify

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import ConnectionPool

    from kaguan.config import Settings
    from kaguan.database.pool import Pool
    from kaguan.outbox.worker.attempt import Attempt, Handler
    from kaguan.outbox.worker.outcome import Outcome
    from tests.simulation.database import SteppedPool
    from tests.simulation.process import Process
    from workers.email.transport import Mailer

UNKNOWN_PATIENCE = 1e-9  # 秒：头一次看见只搁下，再看见就是毒丸


@dataclass(slots=True)
class Relay:
    works: dict[str, Callable[[], Awaitable[object]]]


@dataclass(slots=True)
class Worker:
    works: dict[str, Callable[[], Awaitable[object]]]
    leases: Leases


def relay_loops(settings: Settings, process: Process, stepped: SteppedPool, sockets: ConnectionPool) -> Relay:
    pool = cast("Pool", stepped)
    client = SteppedRedis.of(process, sockets)
    queues = build_queues(client)
    metrics = Metrics()
    config = settings.relay
    return Relay(
        {
            "forward": Forwarder(
                pool, queues, config, settings.worker.task_timeout, metrics, Sightings(UNKNOWN_PATIENCE)
            ).run_once,
            "lease": LeaseRedrive(pool, config, redelivered_kinds(settings.smtp), metrics).run_once,
            "presence": PresenceRedrive(pool, queues, config, metrics, patience=0.0).run_once,
            "epoch": EpochRedrive(pool, client, queues, metrics).run_once,
            "orphan": OrphanRedrive(pool, config, metrics).run_once,
            "ordering": OrderingRelease(pool).run_once,
            "schedules": Schedules(pool, settings.schedules, settings.tasks.max_retries + 1, metrics).run_once,
            "retention": Retention(pool, settings.tasks).run_once,
        }
    )


def worker_parts(
    settings: Settings, process: Process, stepped: SteppedPool, sockets: ConnectionPool, outside: Outside
) -> Worker:
    pool = cast("Pool", stepped)
    client = SteppedRedis.of(process, sockets)
    leases = Leases(pool, process.name, settings.worker.lease)
    execution = Execution(
        pool=pool,
        handlers={
            TaskType.EMAIL_SEND: _mail(settings, process, outside),
            TaskType.SIM_STATUS_SYNC: Ledger(outside, process, plain=False),
            TaskType.DATA_SYNC: Ledger(outside, process, plain=True),
            TaskType.EVENT_PUBLISH: Ledger(outside, process, plain=True),
        },
        guard=DuplicateGuard(client, settings.worker.lease),
        leases=leases,
        settlement=Settlement(pool, process.name, settings.tasks, redelivered_kinds(settings.smtp)),
        metrics=Metrics(),
        task_timeout=settings.worker.task_timeout,
        pace=Pace(client),
    )
    functions: list[Any] = [(str(task_type), execution.__call__) for task_type in TaskType]
    works: dict[str, Callable[[], Awaitable[object]]] = {"beat": leases.run_once}
    for priority, queue in build_queues(client).items():
        worker = QuietWorker(queue, functions, concurrency=1, dequeue_timeout=0.01)
        works[f"take-{priority}"] = worker.process
    return Worker(works, leases)


def _mail(settings: Settings, process: Process, outside: Outside) -> Handler:
    """真的邮件处理器，对面是一间记得住的邮局；配置了查证的，不明时去问它的投递日志。"""
    scripts: dict[str, str | None] = {}
    handler: Handler = EmailHandler(cast("Mailer", PostOffice(outside, process, scripts)), settings.smtp.sender)
    if settings.smtp.verify_url:
        resend = settings.smtp.uncertain is UncertainPolicy.RESEND
        handler = Verified(handler, EmailVerify(Index(outside, process)), resend)

    async def call(attempt: Attempt) -> Outcome:
        outside.starts.append(attempt.task_id)
        scripts[str(attempt.task_id)] = attempt.request_id
        return await handler(attempt)

    return call


PRIORITIES = tuple(Priority)
