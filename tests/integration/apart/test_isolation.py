"""等外面的占不着别人要用的：名额、叫回来、让出的槽位；断言的是次序与个数，不是秒数。"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pytest

from kaguan.outbox.acceptance import Submission, accept_many
from kaguan.outbox.task_type import Effect, Payload, TaskType
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.worker.outcome import Done
from kaguan.outbox.worker.worker import Worker
from tests.support.eventually import eventually
from tests.support.pipeline import MAX_ATTEMPTS, Pipeline, open_pipeline, stepped_relay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from kaguan.config import Settings
    from kaguan.database.pool import Pool
    from kaguan.outbox.worker.attempt import Attempt
    from kaguan.outbox.worker.outcome import Outcome

SLOW = TaskType("carrier:ask", Payload, Effect.REPEATABLE, shareable=True, resources={"carrier": 2, "another": 2})
QUICK = TaskType("noop:do", Payload, Effect.REPEATABLE, shareable=True)
TASKS = 30
HELD = "select count(*) from tb_outbox where waiting_for = 'carrier/carrier:ask'"
LAPS = """
select max(t.delivery), sum(t.attempt)::int, count(*) filter (where e.kind = 'interrupted')::int
from vw_task t left join tb_task_event e on e.task_id = t.id where t.type = 'carrier:ask'
"""


@dataclass(slots=True)
class Carrier:
    """一次只答一个的运营商：答不答由用例说。"""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    inside: int = 0
    most: int = 0
    answered: list[UUID] = field(default_factory=list)

    async def __call__(self, attempt: Attempt) -> Outcome:
        attempt.read(Payload)
        async with attempt.place("carrier"):
            self.inside += 1
            self.most = max(self.most, self.inside)
            try:
                async with attempt.outside("carrier"):
                    await self.turns.acquire()
            finally:
                self.inside -= 1
        self.answered.append(attempt.task_id)
        return Done()


async def quick(attempt: Attempt) -> Outcome:
    return Done({"attempt": attempt.attempt})


@pytest.fixture
async def pipeline(settings: Settings, pool: Pool) -> AsyncIterator[Pipeline]:
    async with open_pipeline(settings, pool) as opened:
        opened.relay = stepped_relay(settings, pool, opened.redis, opened.metrics, (SLOW, QUICK))
        yield opened


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


def worker_of(pipeline: Pipeline, carrier: Carrier, name: str, concurrency: int = 5) -> Worker:
    config = pipeline.settings.worker.model_copy(update={"concurrency": concurrency})
    return Worker(
        pipeline.pool, pipeline.redis, {SLOW: carrier, QUICK: quick}, config, pipeline.settings.tasks, name=name,
    )  # fmt: skip


async def accepted(
    pipeline: Pipeline, count: int, queue: Priority = Priority.LOW, task_type: TaskType[Payload] = SLOW
) -> list[UUID]:
    submissions = [Submission(task_type, Payload(), queue) for _ in range(count)]
    async with pipeline.pool.connection() as connection:
        outcomes = await accept_many(connection, submissions, MAX_ATTEMPTS)
    pipeline.relay.heard.set()
    return [outcome.task_id for outcome in outcomes if not isinstance(outcome, Exception)]


async def held(pipeline: Pipeline) -> int:
    return int((await pipeline.sql(HELD))[0][0])


async def done(pipeline: Pipeline, task_ids: list[UUID]) -> bool:
    statement = "select count(*) from vw_task where id = any(%s) and status = 'succeeded'"
    return await pipeline.sql(statement, task_ids) == [(len(task_ids),)]


@pytest.mark.parametrize("workers", [1, 2])
async def test_slow_tasks_hold_neither_slot_nor_lane_and_go_on_one_by_one(pipeline: Pipeline, workers: int) -> None:
    """三十个等着运营商，各队列的信照样做完；运营商答一个，就叫回来一个，一个也不空转。"""
    carrier = Carrier()
    async with running(pipeline, *(worker_of(pipeline, carrier, f"w{n}") for n in range(workers))):
        asked = await accepted(pipeline, TASKS)
        await eventually(lambda: held_is(pipeline, TASKS - 2 * workers))
        for queue in Priority:
            others = await accepted(pipeline, 3, queue, QUICK)
            await eventually(partial(done, pipeline, others))
        assert carrier.answered == []
        for _ in range(TASKS):
            carrier.turns.release()
        await eventually(lambda: done(pipeline, asked))
    assert carrier.most <= 2 * 2 * workers
    ((deliveries, attempts, _),) = await pipeline.sql(LAPS)
    assert deliveries <= 4, "每个至多让位几次，不是一遍遍地空转"
    assert attempts == TASKS, "等名额不耗尝试"


async def held_is(pipeline: Pipeline, count: int) -> bool:
    return await held(pipeline) == count
