"""worker 进程的组合根：打开发件箱与处理器，取件直到停止信号，交还做不完的，逆序关闭。"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

from redis.asyncio import Redis

from kaguan.config import Process, Settings
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.task_type import TaskType, TaskTypes
from kaguan.outbox.work.attempt import Handler
from kaguan.outbox.work.overrides import Overrides
from kaguan.product.checking import check_settings
from kaguan.product.outbox import ProductOutbox
from kaguan.product.process import run_process, spare_the_collector
from kaguan.product.task_types import task_types
from workers.registry import open_handlers

Opened: TypeAlias = AbstractAsyncContextManager[Mapping[TaskType[Any], Handler[Any]]]
OpenHandlers: TypeAlias = Callable[[Settings, Redis, Metrics, TaskTypes, Overrides], Opened]


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """取件、执行、续租，直到 ``stop``。"""
    await serve(settings, stop, task_types(settings.smtp, settings.carriers), open_handlers)


async def serve(settings: Settings, stop: asyncio.Event, types: TaskTypes, open_handlers: OpenHandlers) -> None:
    """``open_handlers`` 打开这些类型的处理器，离开时关闭它们的连接。"""
    async with (
        ProductOutbox(settings, types).process("worker", stop) as here,
        open_handlers(settings, here.redis, here.metrics, types, Overrides(here.pool)) as handlers,
    ):
        worker = here.worker(handlers)
        spare_the_collector()
        await worker.run(stop)


if __name__ == "__main__":
    sys.exit(run_process(Process.WORKER, main, check_settings))
