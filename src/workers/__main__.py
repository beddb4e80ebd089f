"""worker 进程的组合根：资源按序打开，取件直到停止信号，交还做不完的，逆序关闭。"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, TypeAlias

from redis.asyncio import Redis

from kaguan.config import Process, Settings
from kaguan.database.pool import open_pool
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.task_type import TaskType, TaskTypes
from kaguan.outbox.vocabulary import split_slots
from kaguan.outbox.work.attempt import Handler
from kaguan.outbox.worker import SPARE_CONNECTIONS, Worker
from kaguan.presence.beat import Presence
from kaguan.product.process import run_process, spare_the_collector
from kaguan.product.task_types import check_settings, task_types
from kaguan.queues.client import open_redis, wait_for_redis
from kaguan.telemetry.exposition import serve_metrics
from kaguan.telemetry.monitor import Monitor
from workers.registry import open_handlers

Opened: TypeAlias = AbstractAsyncContextManager[Mapping[TaskType[Any], Handler[Any]]]
OpenHandlers: TypeAlias = Callable[[Settings, Redis, Metrics, TaskTypes], Opened]


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """取件、执行、续租，直到 ``stop``。"""
    await serve(settings, stop, task_types(settings.smtp, settings.carriers), open_handlers)


async def serve(settings: Settings, stop: asyncio.Event, types: TaskTypes, open_handlers: OpenHandlers) -> None:
    """``open_handlers`` 打开这些类型的处理器，离开时关闭它们的连接。"""
    config = settings.worker
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(open_redis(settings.redis, config.concurrency + SPARE_CONNECTIONS))
        shares = split_slots(config.concurrency, config.weights)
        slots = {"slots": {str(queue): count for queue, count in shares.items()}}
        presence = Presence(redis, "worker", facts=lambda: slots)
        await stack.enter_async_context(presence.beating())  # 越早越好：一起来就死的也要数得出
        pool = await stack.enter_async_context(open_pool(settings.database, "worker", planned_once=True))
        await wait_for_redis(redis, settings.redis)
        await presence.watch(pool)
        metrics = Metrics(types)
        await stack.enter_async_context(serve_metrics(metrics.registry, config.metrics_host, config.metrics_port))
        handlers = await stack.enter_async_context(open_handlers(settings, redis, metrics, types))
        worker = Worker(pool, redis, handlers, config, settings.tasks, metrics=metrics, name=presence.name)
        presence.facts = lambda: {**slots, **worker.facts()}
        monitor = Monitor(metrics.registry, pool, redis, settings.logging.pool_interval)
        spare_the_collector()
        async with asyncio.TaskGroup() as group:
            group.create_task(monitor.run(stop), name="monitor")
            await worker.run(stop)


if __name__ == "__main__":
    sys.exit(run_process(Process.WORKER, main, check_settings))
