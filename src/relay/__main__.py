"""relay 进程的组合根：资源按序打开，循环并行，逆序关闭。"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from kaguan.breakers import BreakerKind
from kaguan.database.listening import listen
from kaguan.database.pool import open_pool
from kaguan.outbox.deliveries import build_queues
from kaguan.outbox.doorbell import CHANNEL
from kaguan.outbox.relay.epoch import EpochRedrive
from kaguan.outbox.relay.forward import Forwarder
from kaguan.outbox.relay.loop import run
from kaguan.outbox.relay.ordering import OrderingRelease
from kaguan.outbox.relay.redrive import LeaseRedrive, OrphanRedrive, PresenceRedrive
from kaguan.outbox.relay.retention import Retention
from kaguan.outbox.relay.schedules import Schedules
from kaguan.presence.beat import Presence
from kaguan.process import run_process
from kaguan.queues.client import open_redis, wait_for_redis
from kaguan.tasks.uncertain import redelivered_kinds
from kaguan.telemetry.exposition import serve_metrics
from kaguan.telemetry.metrics import Metrics
from kaguan.telemetry.monitor import Monitor
from relay.recall import Recall

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kaguan.config import Settings

RETENTION_INTERVAL = 60.0  # 秒
ORPHAN_INTERVAL = 5.0  # 秒
ORDERING_INTERVAL = 2.0  # 秒
SCHEDULE_INTERVAL = 5.0  # 秒
RECALL_INTERVAL = 1.0  # 秒


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """转交、重投、保留期，直到 ``stop``。"""
    config = settings.relay
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(open_redis(settings.redis))
        presence = Presence(redis, "relay")
        await stack.enter_async_context(presence.beating())  # 越早越好：一起来就死的也要数得出
        pool = await stack.enter_async_context(open_pool(settings.database, "relay"))
        await wait_for_redis(redis, settings.redis)
        metrics = Metrics()
        await stack.enter_async_context(serve_metrics(metrics.registry, config.metrics_host, config.metrics_port))
        queues = build_queues(redis)
        heard = asyncio.Event()
        forwarder = Forwarder(pool, queues, config, settings.worker.task_timeout, metrics)
        # 转交之外的循环补进发件箱的，转交立刻知道，不等轮询
        loops: list[tuple[str, Callable[[], Awaitable[int]], float]] = [
            (
                "lease",
                LeaseRedrive(pool, config, redelivered_kinds(settings.smtp), metrics, settings.worker.lease).run_once,
                config.lease_scan_interval,
            ),
            ("presence", PresenceRedrive(pool, queues, config, metrics).run_once, config.presence_interval),
            ("epoch", EpochRedrive(pool, redis, queues, metrics, heard).run_once, config.poll_interval),
            ("ordering", OrderingRelease(pool).run_once, ORDERING_INTERVAL),
            ("orphan", OrphanRedrive(pool, config, metrics).run_once, ORPHAN_INTERVAL),
            (
                "schedules",
                Schedules(pool, settings.schedules, settings.tasks.max_retries + 1, metrics).run_once,
                SCHEDULE_INTERVAL,
            ),
            ("recall", Recall(pool, redis, BreakerKind.SMTP, settings.smtp.per_second).run_once, RECALL_INTERVAL),
            ("retention", Retention(pool, settings.tasks).run_once, RETENTION_INTERVAL),
        ]
        listener = asyncio.create_task(listen(settings.database, "listener", CHANNEL, heard.set), name="listener")
        stack.callback(listener.cancel)
        monitor = Monitor(metrics, pool, redis, settings.logging.pool_interval, backlog=True)
        presence.facts = forwarder.facts
        async with asyncio.TaskGroup() as group:
            group.create_task(monitor.run(stop), name="monitor")
            looping = partial(run, backoff_max=config.backoff_max, stop=stop)
            group.create_task(
                looping("forward", forwarder.run_once, interval=config.poll_interval, wake=heard), name="forward"
            )
            for name, run_once, interval in loops:
                group.create_task(looping(name, run_once, interval=interval, rouse=heard), name=name)


if __name__ == "__main__":
    sys.exit(run_process("relay", main))
