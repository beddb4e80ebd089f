"""对手：Oban for Python。照它的文档：嵌入方式、uvloop（它的命令行也用）、连接池开到 20；维护的循环都用默认值。

文档：oban-bg/oban-py 的文档 production（连接池多大）、defining_queues（队列的上限）、
quickstart（成批入队用 ``enqueue_many``）。文档没有说队列的上限多大最快，是试出来的。
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from oban import Oban, worker
from oban.schema import install

from tests.bench.rivals.command import BATCH, Enqueue, Side, database_url, knob, run

POOL_MIN, POOL_MAX = 2, 20


class Noop:
    async def process(self, job: Any) -> None:
        del job


NOOP: Any = worker(queue="default")(Noop)


@asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[Any]:
    async with (
        await Oban.create_pool(database_url(), min_size=POOL_MIN, max_size=POOL_MAX) as pool,
        Oban(pool=pool, **options) as oban,
    ):
        yield oban


async def prepare() -> None:
    async with await Oban.create_pool(database_url()) as pool:
        await install(pool)


async def fill(rows: int) -> None:
    async with opened() as oban:
        for start in range(0, rows, BATCH):
            await oban.enqueue_many(*(NOOP.new({"n": n}) for n in range(start, min(start + BATCH, rows))))


async def work(stop: asyncio.Event) -> None:
    async with opened(queues={"default": int(knob())}):
        await stop.wait()


@asynccontextmanager
async def producing() -> AsyncIterator[Enqueue]:
    async with opened() as oban:
        yield lambda: oban.enqueue(NOOP.new({"n": 1}))


if __name__ == "__main__":
    run(Side(prepare, fill, work, producing))
