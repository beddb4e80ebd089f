"""什么也不做的处理器，其余与 worker 进程的组合根相同：真的取件、认领、结算、续租、日志、指标。"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from kaguan.database.pool import open_pool
from kaguan.outbox.deliveries import build_queues
from kaguan.outbox.vocabulary import TaskType
from kaguan.outbox.worker.consumer import Consumer
from kaguan.outbox.worker.duplicates import DuplicateGuard
from kaguan.outbox.worker.execution import Execution
from kaguan.outbox.worker.heartbeat import beating
from kaguan.outbox.worker.leases import Leases
from kaguan.outbox.worker.outcome import Done
from kaguan.outbox.worker.pace import Pace
from kaguan.outbox.worker.settlement import Settlement
from kaguan.presence.beat import process_name
from kaguan.process import run_process
from kaguan.queues.client import open_redis, wait_for_redis
from kaguan.telemetry.exposition import serve_metrics
from kaguan.telemetry.metrics import Metrics
from kaguan.telemetry.monitor import Monitor
from workers.__main__ import SPARE_CONNECTIONS

if TYPE_CHECKING:
    from kaguan.config import Settings
    from kaguan.outbox.worker.attempt import Attempt
    from kaguan.outbox.worker.outcome import Outcome


async def noop(attempt: Attempt) -> Outcome:
    del attempt
    return Done()


async def main(settings: Settings, stop: asyncio.Event) -> None:
    config = settings.worker
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(settings.database, "worker"))
        redis = await stack.enter_async_context(open_redis(settings.redis, config.concurrency + SPARE_CONNECTIONS))
        await wait_for_redis(redis, settings.redis)
        metrics = Metrics()
        await stack.enter_async_context(serve_metrics(metrics.registry, config.metrics_host, config.metrics_port))
        leases = Leases(pool, process_name(), config.lease)
        pace = Pace(redis)
        execution = Execution(
            pool=pool,
            handlers=dict.fromkeys(TaskType, noop),
            guard=DuplicateGuard(redis, config.lease),
            leases=leases,
            settlement=Settlement(pool, leases.worker, settings.tasks),
            metrics=metrics,
            task_timeout=config.task_timeout,
            pace=pace,
        )
        monitor = Monitor(metrics, pool, redis, settings.logging.pool_interval)
        async with beating(leases), pace.publishing(), asyncio.TaskGroup() as group:
            group.create_task(monitor.run(stop), name="monitor")
            await Consumer(build_queues(redis), execution, config).run(stop)
            await leases.release_all()


if __name__ == "__main__":
    sys.exit(run_process("worker", main))
