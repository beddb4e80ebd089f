"""等外面的占不占着别人的：relay 与 worker 都在做，旁边有一种转眼就做完的。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

from kaguan.outbox.accept.acceptance import Submission, accept_many
from kaguan.outbox.task_type import Effect, Payload, TaskType
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.outcome import Done, Outcome
from kaguan.outbox.worker import Worker
from tests.support.eventually import eventually
from tests.support.pipeline import MAX_ATTEMPTS, Pipeline

QUICK = TaskType("noop:do", Payload, Effect.REPEATABLE, shareable=True)
HELD = "select count(*) from tb_outbox where waiting_for = %s"
LAPS = "select max(delivery), sum(attempt)::int from vw_task where type = %s"


async def quick(attempt: Attempt) -> Outcome:
    return Done({"attempt": attempt.attempt})


def narrow_worker(
    pipeline: Pipeline,
    handlers: Mapping[TaskType[Any], Handler[Any]],
    slots: int,
    name: str = "worker",
    **config: object,
) -> Worker:
    """``slots`` 个槽位，一个也不为急的留着：名额有这么多而占着槽位的，别的就做不成。"""
    narrowed = pipeline.settings.worker.model_copy(update={"concurrency": slots, "reserve": 0, **config})
    everything = {**handlers, QUICK: quick}
    return Worker(pipeline.pool, pipeline.redis, everything, narrowed, pipeline.settings.tasks, name=name)


@asynccontextmanager
async def running(pipeline: Pipeline, *workers: Worker) -> AsyncIterator[None]:
    """relay 与这些 worker 都在做，离开时停下。"""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(pipeline.relay.run(stop))
        for worker in workers:
            group.create_task(worker.run(stop))
        try:
            yield
        finally:
            stop.set()


async def accepted(pipeline: Pipeline, submissions: Iterable[Submission[Any]]) -> list[UUID]:
    async with pipeline.pool.connection() as connection:
        outcomes = await accept_many(connection, list(submissions), MAX_ATTEMPTS)
    pipeline.relay.heard.set()
    return [outcome.task_id for outcome in outcomes if not isinstance(outcome, Exception)]


async def quick_ones_are_done(pipeline: Pipeline) -> None:
    """每个队列各来几个，都做完。"""
    for queue in Priority:
        others = await accepted(pipeline, [Submission(QUICK, Payload(), queue)] * 3)
        await eventually(partial(done, pipeline, others))


async def waits(pipeline: Pipeline, place: str, count: int) -> bool:
    """有这么多个让出了名额，在等 ``place``。"""
    return await pipeline.sql(HELD, place) == [(count,)]


async def done(pipeline: Pipeline, task_ids: list[UUID]) -> bool:
    statement = "select count(*) from vw_task where id = any(%s) and status = 'succeeded'"
    return await pipeline.sql(statement, task_ids) == [(len(task_ids),)]


async def laps(pipeline: Pipeline, task_type: str) -> tuple[int, int]:
    """这一种的：投递得最多的一个投递了几次，一共用去几次尝试。"""
    ((deliveries, attempts),) = await pipeline.sql(LAPS, task_type)
    return deliveries, attempts
