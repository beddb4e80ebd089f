"""relay 进程的组合根：打开发件箱，循环并行。"""

from __future__ import annotations

import asyncio
import sys
from functools import partial

from kaguan.audit import store as audit
from kaguan.breakers.board import BreakerKind
from kaguan.config import Process, Settings
from kaguan.database.server import ServerMetrics
from kaguan.database.standbys import StandbyMetrics
from kaguan.idempotency import store as idempotency
from kaguan.mail.recall import Recall
from kaguan.mail.waiting import INTERVAL, WaitingMetrics
from kaguan.outbox.relay import Loop
from kaguan.outbox.task_type import TaskTypes
from kaguan.product.checking import check_settings
from kaguan.product.outbox import ProductOutbox
from kaguan.product.process import run_process, spare_the_collector
from kaguan.product.task_types import task_types
from kaguan.sims import change_store
from kaguan.verdict import history
from kaguan.verdict.watching import PACE, Watch


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """转交、重投、保留期，直到 ``stop``。"""
    await serve(settings, stop, task_types(settings.smtp))


async def serve(settings: Settings, stop: asyncio.Event, types: TaskTypes) -> None:
    """转交 ``types``，直到 ``stop``。"""
    async with ProductOutbox(settings, types).process("relay", stop) as here:
        pool, registry = here.pool, here.metrics.registry
        watch = Watch(pool, here.redis, settings, count=here.metrics.count_accepted)
        relay = here.relay(
            schedules=settings.schedules,
            expiries={
                "idempotency_keys": idempotency.expire,
                "audits": partial(audit.expire, days=settings.tasks.audit_retention_days),
                "sim_changes": partial(change_store.expire, days=settings.carriers.receipt_days),
                "concerns": partial(history.expire, days=settings.tasks.retention_days),
            },
            others={
                "recall": Loop(Recall(pool, here.redis, BreakerKind.SMTP, settings.smtp.per_second).run_once, 1.0),
                "watch": Loop(watch.run_once, PACE),
                "waiting": Loop(partial(WaitingMetrics(registry).publish, pool), INTERVAL),
                "server": Loop(partial(ServerMetrics(registry).publish, pool, settings.database.namespace), INTERVAL),
                "standbys": Loop(partial(StandbyMetrics(registry).publish, pool), INTERVAL),
            },
        )
        spare_the_collector()
        await relay.run(stop)


if __name__ == "__main__":
    sys.exit(run_process(Process.RELAY, main, check_settings))
