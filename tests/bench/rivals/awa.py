"""对手：awa（Rust 的核，Python 的壳）。照它的文档：一个 AsyncClient、元组的队列（名字，并发数），成批入队用 COPY。

文档：hardbyte/awa 的 docs/getting-started-python（起 worker）与 docs/configuration
（``max_workers`` 默认 50；成批入队用 ``enqueue_many_copy``）。并发数是试出来的（400）。
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import awa

from tests.bench.rivals.command import BATCH, Enqueue, Side, database_url, knob, run

QUEUE = "noop"
ROTATE = 60_000  # 毫秒：默认一秒一段，转过去的、做完的就回收，账还没读就没了


@dataclass
class Noop:
    n: int


async def noop(job: Any) -> None:
    del job


@asynccontextmanager
async def opened() -> AsyncIterator[Any]:
    client = awa.AsyncClient(database_url())
    try:
        yield client
    finally:
        await client.close()


async def install() -> None:
    async with opened() as client:
        await client.migrate()
        await client.install_queue_storage()  # 不等第一个 worker 来启用


async def fill(rows: int) -> None:
    async with opened() as client:
        for start in range(0, rows, BATCH):
            await client.enqueue_many_copy([Noop(n) for n in range(start, min(start + BATCH, rows))], queue=QUEUE)


async def work(stop: asyncio.Event) -> None:
    async with opened() as client:
        client.task(Noop, queue=QUEUE)(noop)
        await client.start([(QUEUE, int(knob()))], queue_storage_queue_rotate_interval_ms=ROTATE)
        await stop.wait()
        await client.shutdown()


@asynccontextmanager
async def producing() -> AsyncIterator[Enqueue]:
    async with opened() as client:
        yield lambda: client.insert(Noop(1), queue=QUEUE)


if __name__ == "__main__":
    run(Side(install, fill, work, producing))
