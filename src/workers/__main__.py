"""worker 进程的组合根：资源按序打开，取件直到停止信号，交还做不完的，逆序关闭。"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from kaguan.database.pool import open_pool
from kaguan.outbox.deliveries import build_queues
from kaguan.outbox.doorbell import Doorbell
from kaguan.outbox.worker.consumer import Consumer, split_slots
from kaguan.outbox.worker.duplicates import DuplicateGuard
from kaguan.outbox.worker.execution import Execution
from kaguan.outbox.worker.heartbeat import beating
from kaguan.outbox.worker.leases import Leases
from kaguan.outbox.worker.pace import Pace
from kaguan.outbox.worker.settlement import Settlement
from kaguan.presence.beat import Presence
from kaguan.process import run_process
from kaguan.queues.client import open_redis, wait_for_redis
from kaguan.tasks.uncertain import redelivered_kinds
from kaguan.telemetry.exposition import serve_metrics
from kaguan.telemetry.metrics import Metrics
from kaguan.telemetry.monitor import Monitor
from workers.registry import open_handlers

if TYPE_CHECKING:
    from kaguan.config import Settings

log = structlog.get_logger(__name__)

SPARE_CONNECTIONS = 10  # SAQ 的上游任务、任务锁、限流


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """取件、执行、续租，直到 ``stop``。"""
    config = settings.worker
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(open_redis(settings.redis, config.concurrency + SPARE_CONNECTIONS))
        slots = {"slots": {str(queue): count for queue, count in split_slots(config.concurrency).items()}}
        presence = Presence(redis, "worker", facts=lambda: slots)
        await stack.enter_async_context(presence.beating())  # 越早越好：一起来就死的也要数得出
        pool = await stack.enter_async_context(open_pool(settings.database, "worker"))
        await wait_for_redis(redis, settings.redis)
        metrics = Metrics()
        await stack.enter_async_context(serve_metrics(metrics.registry, config.metrics_host, config.metrics_port))
        handlers = await stack.enter_async_context(open_handlers(settings, redis, metrics))
        leases = Leases(pool, presence.name, config.lease)
        pace = Pace(redis)
        doorbell = await stack.enter_async_context(
            Doorbell(settings.database, settings.relay.doorbell_interval).ringing()
        )
        execution = Execution(
            pool=pool,
            handlers=handlers,
            guard=DuplicateGuard(redis, config.lease),
            leases=leases,
            settlement=Settlement(pool, leases.worker, settings.tasks, redelivered_kinds(settings.smtp)),
            metrics=metrics,
            task_timeout=config.task_timeout,
            pace=pace,
            ring=doorbell.ring,
        )
        monitor = Monitor(metrics, pool, redis, settings.logging.pool_interval)
        async with beating(leases), pace.publishing(), asyncio.TaskGroup() as group:
            group.create_task(monitor.run(stop), name="monitor")
            await Consumer(build_queues(redis), execution, config).run(stop)
            returned = await leases.release_all()
        log.info("已停止取件", returned=returned)


if __name__ == "__main__":
    sys.exit(run_process("worker", main))
