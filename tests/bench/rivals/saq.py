"""对手：光秃秃的 SAQ，在我们自己的虚拟环境里（同一个版本）。一个 Worker、一个什么也不做的函数；并发数是试出来的。"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from saq.job import Job
from saq.queue.redis import RedisQueue
from saq.types import Context
from saq.worker import Worker

from tests.bench.rivals.command import BATCH, Enqueue, Side, knob, run

QUEUE = "bare"
FUNCTION = "noop"


async def noop(_context: Context, *, task_id: str, delivery: int) -> None:
    """参数与我们的投递相同，什么也不做。"""
    del task_id, delivery


def job() -> Job:
    return Job(FUNCTION, kwargs={"task_id": str(uuid4()), "delivery": 1})


@asynccontextmanager
async def opened() -> AsyncIterator[RedisQueue]:
    queue = RedisQueue.from_url(os.environ["RIVAL_REDIS_URL"], name=QUEUE)
    try:
        yield queue
    finally:
        await queue.disconnect()


async def install() -> None:
    """没有表。"""


async def fill(rows: int) -> None:
    async with opened() as queue:
        for start in range(0, rows, BATCH):
            await asyncio.gather(*(queue.enqueue(job()) for _ in range(min(BATCH, rows - start))))


async def work(stop: asyncio.Event) -> None:
    """它自己接 SIGTERM，接了就顶掉我们的。"""
    del stop
    async with opened() as queue:
        worker: Worker[Any] = Worker(queue, [(FUNCTION, noop)], concurrency=int(knob()))
        await worker.start()


@asynccontextmanager
async def producing() -> AsyncIterator[Enqueue]:
    async with opened() as queue:
        yield lambda: queue.enqueue(job())


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    run(Side(install, fill, work, producing))
