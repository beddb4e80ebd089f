"""对手：PgQueuer。照它的文档：asyncpg、worker 用单独一条连接、入队用连接池、装好后调一次 autovacuum；
耐久性用默认的 durable（balanced 与 volatile 会丢活，不是同样的承诺）。

文档：janbjorge/pgqueuer 的文档 performance-tuning（短活加大 ``batch_size``，清单）与
benchmarks（asyncpg 快 1.7 倍；它自己的基准在一个进程里开 5 个取件的，每批 10 个）。
一个进程里几个取件的、每批多少个，是试出来的（「2x1000」）。
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.queries import Queries

from tests.bench.rivals.command import BATCH, Enqueue, Side, database_url, knob, run

ENTRYPOINT = "noop"
POOL_MIN, POOL_MAX = 5, 20
NEVER = timedelta(0)  # 不把流水并进统计：我们要从流水里读时刻；它文档里的开关


async def noop(job: Any) -> None:
    del job


@asynccontextmanager
async def queries() -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url())
    try:
        yield Queries(AsyncpgDriver(connection))
    finally:
        await connection.close()


async def install() -> None:
    async with queries() as found:
        await found.install()
        await found.optimize_autovacuum()


async def fill(rows: int) -> None:
    async with queries() as found:
        for start in range(0, rows, BATCH):
            count = min(BATCH, rows - start)
            await found.enqueue([ENTRYPOINT] * count, [b"{}"] * count, [0] * count)


async def work(stop: asyncio.Event) -> None:
    lanes, batch = map(int, knob().split("x"))
    async with AsyncExitStack() as stack:
        managers = []
        for _ in range(lanes):
            found = await stack.enter_async_context(queries())
            manager = PgQueuer(found.driver)
            manager.entrypoint(ENTRYPOINT)(noop)
            managers.append(manager)
        running = [
            asyncio.create_task(manager.run(batch_size=batch, log_aggregation_interval=NEVER)) for manager in managers
        ]
        await stop.wait()
        for manager in managers:
            manager.shutdown.set()
        await asyncio.gather(*running)


@asynccontextmanager
async def producing() -> AsyncIterator[Enqueue]:
    async with asyncpg.create_pool(database_url(), min_size=POOL_MIN, max_size=POOL_MAX) as pool:
        found = Queries(AsyncpgPoolDriver(pool))
        yield lambda: found.enqueue(ENTRYPOINT, b"{}", 0)


if __name__ == "__main__":
    run(Side(install, fill, work, producing))
