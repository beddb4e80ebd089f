"""一次转交测量，独占一个进程：``forward`` 是我们的 relay，``bare`` 是只有 SAQ 入队脚本的流水线；印出每秒行数。

``drift`` 一直备、一直转，印出一段段的每秒行数（JSON）：只有取件越来越慢，后面的才会低。
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import orjson
import uvloop
from redis.asyncio import Redis
from saq.job import Job
from saq.queue.redis import RedisQueue

from kaguan.config import Settings, load_settings
from kaguan.database.pool import Pool, open_pool
from kaguan.logging.setup import configure_logging
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.deliver.deliveries import JOB_TTL, build_queues
from kaguan.outbox.deliver.forward import Forwarder
from kaguan.outbox.relay import Relay, Timing
from kaguan.outbox.vocabulary import Priority
from kaguan.product.task_types import TASK_TYPES
from kaguan.queues.client import open_redis
from kaguan.telemetry.setup import configure_telemetry
from tests.bench.backlog import fill

SLICES, REFILL = 10, 5_000
WARM_BATCHES = 8  # psycopg 到第六次才预备语句


async def forward(settings: Settings, rows: int, refill: int) -> float:
    """转交 ``rows`` 行。``refill`` 非 0：每次只备这么多积压，转交完再备；备的时间不计。"""
    async with _opened(settings) as (forwarder, pool, _):

        async def prepare() -> None:
            if refill:
                async with pool.connection() as connection:
                    await fill(connection, refill)

        warm = WARM_BATCHES * settings.relay.batch_size
        await _timed(forwarder.run_once, warm, prepare)
        moved, seconds = await _timed(forwarder.run_once, rows, prepare)
        return moved / seconds


async def drift(settings: Settings, seconds: float) -> list[float]:
    """转交 ``seconds`` 秒，备的时间与清空 Redis 的时间不计；分成 ``SLICES`` 段。"""
    moved, spent = [0] * SLICES, [0.0] * SLICES
    async with _opened(settings) as (forwarder, pool, redis):
        started = time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds:
            piece = int(elapsed / seconds * SLICES)
            async with pool.connection() as connection:
                await fill(connection, REFILL)
            await redis.flushdb()
            begun = time.perf_counter()
            while count := await forwarder.run_once():
                moved[piece] += count
            spent[piece] += time.perf_counter() - begun
    return [rows / taken for rows, taken in zip(moved, spent, strict=True) if rows]


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[Forwarder, Pool, Redis]]:
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(settings.database, "relay", planned_once=True))
        redis = await stack.enter_async_context(open_redis(settings.redis))
        # 一批一次提交，不等门铃：量的是每批的快慢
        relay = Relay(pool, redis, TASK_TYPES, settings.relay, worker=settings.worker, timing=Timing(hold=0.0))
        yield relay.forwarder, pool, redis


async def _timed(
    run_once: Callable[[], Awaitable[int]], rows: int, prepare: Callable[[], Awaitable[None]]
) -> tuple[int, float]:
    moved, seconds = 0, 0.0
    while moved < rows:
        await prepare()
        before = moved
        started = time.perf_counter()
        while moved < rows and (count := await run_once()):
            moved += count
        seconds += time.perf_counter() - started
        if moved == before:
            raise RuntimeError(f"积压不够：只有 {moved} 行")
    return moved, seconds


async def bare(settings: Settings, rows: int) -> float:
    """同样大小的批，Job 事先造好，只计流水线。"""
    size = settings.relay.batch_size
    jobs = [
        Job(
            EMAIL_SEND.name,
            key=str(task_id := uuid4()),
            kwargs={"deliveries": [[str(task_id), 1]]},
            timeout=int(settings.worker.task_timeout),
            retries=1,
            ttl=JOB_TTL,
        )
        for _ in range(rows + WARM_BATCHES * size)
    ]
    batches = [jobs[start : start + size] for start in range(0, len(jobs), size)]
    async with open_redis(settings.redis) as redis:
        queue = build_queues(redis)[Priority.DEFAULT]
        for batch in batches[:WARM_BATCHES]:
            await _enqueued(queue, redis, batch)
        started = time.perf_counter()
        for batch in batches[WARM_BATCHES:]:
            await _enqueued(queue, redis, batch)
        return rows / (time.perf_counter() - started)


async def _enqueued(queue: RedisQueue, redis: Redis, jobs: Sequence[Job]) -> None:
    async with redis.pipeline(transaction=False) as pipe:
        piped = copy.copy(queue)
        piped.redis = pipe
        for job in jobs:
            await piped.enqueue(job)
        await pipe.execute()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("forward", "bare", "drift"))
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--refill", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0)
    options = parser.parse_args()
    settings = load_settings()
    with configure_logging(settings.logging, "relay"):
        stop_telemetry = configure_telemetry(settings.telemetry, "relay")
        measuring: Coroutine[Any, Any, float | list[float]] = (
            bare(settings, options.rows)
            if options.mode == "bare"
            else drift(settings, options.seconds)
            if options.mode == "drift"
            else forward(settings, options.rows, options.refill)
        )
        sys.stdout.buffer.write(orjson.dumps(uvloop.run(measuring)))
        stop_telemetry()


if __name__ == "__main__":
    main()
