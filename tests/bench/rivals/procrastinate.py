"""对手：Procrastinate。照它的文档：异步的 psycopg 连接、LISTEN/NOTIFY 开着；做完的留着（默认，我们也留着）。

文档：procrastinate-org/procrastinate 的文档 concurrency、batch_defer。
文档的例子是并发 30；取多少是试出来的。
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from procrastinate import App, PsycopgConnector

from tests.bench.rivals.command import BATCH, Enqueue, Side, database_url, knob, run

POOL_MIN, POOL_MAX = 2, 20


async def noop() -> None:
    return


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Any, Any]]:
    """应用与它的任务。"""
    app = App(connector=PsycopgConnector(conninfo=database_url(), min_size=POOL_MIN, max_size=POOL_MAX))
    task = app.task(name="noop")(noop)
    async with app.open_async():
        yield app, task


async def install() -> None:
    async with opened() as (app, _):
        await app.schema_manager.apply_schema_async()


async def fill(rows: int) -> None:
    async with opened() as (_, task):
        for start in range(0, rows, BATCH):
            await task.batch_defer_async(*({} for _ in range(min(BATCH, rows - start))))


async def work(stop: asyncio.Event) -> None:
    async with opened() as (app, _):
        running = asyncio.create_task(app.run_worker_async(concurrency=int(knob()), install_signal_handlers=False))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        await asyncio.wait((running,))


@asynccontextmanager
async def producing() -> AsyncIterator[Enqueue]:
    async with opened() as (_, task):
        yield task.defer_async


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    run(Side(install, fill, work, producing))
