"""relay 进程的组合根：资源按序打开，循环并行，逆序关闭。"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from functools import partial

from kaguan.audit import store as audit
from kaguan.breakers.board import BreakerKind
from kaguan.config import Process, Settings
from kaguan.database.pool import open_pool
from kaguan.database.standbys import StandbyMetrics
from kaguan.idempotency import store as idempotency
from kaguan.mail.recall import Recall
from kaguan.mail.waiting import INTERVAL, WaitingMetrics
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.relay import Loop, Relay
from kaguan.outbox.task_type import TaskTypes
from kaguan.presence.beat import Presence
from kaguan.product.process import run_process, spare_the_collector
from kaguan.product.task_types import check_settings, task_types
from kaguan.queues.client import open_redis, wait_for_redis
from kaguan.telemetry.exposition import serve_metrics
from kaguan.telemetry.monitor import Monitor


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """转交、重投、保留期，直到 ``stop``。"""
    await serve(settings, stop, task_types(settings.smtp))


async def serve(settings: Settings, stop: asyncio.Event, types: TaskTypes) -> None:
    """转交 ``types``，直到 ``stop``。"""
    config = settings.relay
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(open_redis(settings.redis))
        presence = Presence(redis, "relay")
        await stack.enter_async_context(presence.beating())  # 越早越好：一起来就死的也要数得出
        pool = await stack.enter_async_context(open_pool(settings.database, "relay", planned_once=True))
        await wait_for_redis(redis, settings.redis)
        await presence.watch(pool)
        metrics = Metrics(types)
        await stack.enter_async_context(serve_metrics(metrics.registry, config.metrics_host, config.metrics_port))
        relay = Relay(
            pool,
            redis,
            types.values(),
            config,
            settings.tasks,
            settings.worker,
            metrics=metrics,
            schedules=settings.schedules,
            expiries={
                "idempotency_keys": idempotency.expire,
                "audits": partial(audit.expire, days=settings.tasks.audit_retention_days),
            },
            others={
                "recall": Loop(Recall(pool, redis, BreakerKind.SMTP, settings.smtp.per_second).run_once, 1.0),
                "waiting": Loop(partial(WaitingMetrics(metrics.registry).publish, pool), INTERVAL),
                "standbys": Loop(partial(StandbyMetrics(metrics.registry).publish, pool), INTERVAL),
            },
        )
        presence.facts = relay.facts
        monitor = Monitor(metrics.registry, pool, redis, settings.logging.pool_interval)
        spare_the_collector()
        async with asyncio.TaskGroup() as group:
            group.create_task(monitor.run(stop), name="monitor")
            await relay.run(stop)


if __name__ == "__main__":
    sys.exit(run_process(Process.RELAY, main, check_settings))
