"""产品自己的发件箱：三种进程都由它打开。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

from kaguan.config import Settings
from kaguan.config.model import Api, Relay, Worker
from kaguan.flow.background import in_background
from kaguan.outbox.front import Outbox
from kaguan.outbox.place import Opened, Role
from kaguan.outbox.schema import PRODUCT
from kaguan.outbox.task_type import TaskTypes
from kaguan.telemetry.exposition import serve_metrics
from kaguan.telemetry.monitor import Monitor


class ProductOutbox(Outbox):
    """名字是留给它的，表由 migrations/ 建；类型按配置定下，处理器由 worker 打开。"""

    _taken: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: Settings, types: TaskTypes) -> None:
        super().__init__(
            PRODUCT,
            database=settings.database,
            redis=settings.redis,
            tasks=settings.tasks,
            relay=settings.relay,
            worker=settings.worker,
        )
        self._types.update(types)
        self._settings = settings

    @asynccontextmanager
    async def process(self, role: Role, stop: asyncio.Event, number: int = 0) -> AsyncIterator[Opened]:
        """打开一个进程的，采样，暴露指标；API 的第 ``number`` 个子进程在它自己的端口上。"""
        served: Api | Relay | Worker = getattr(self._settings, role)
        async with self.opened(role):
            here, port = self._open(), served.metrics_port
            registry, every = here.metrics.registry, self._settings.logging.pool_interval
            monitor = Monitor(registry, here.pool, here.redis, every)
            async with (
                serve_metrics(registry, served.metrics_host, port and port + number),
                in_background(monitor.run(stop), "monitor"),
            ):
                yield here
