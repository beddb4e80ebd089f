"""等外面的占不着别人要用的：名额、叫回来、让出的槽位；断言的是次序与个数，不是秒数。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from kaguan.config import Settings
from kaguan.database.pool import Pool
from kaguan.outbox.accept.acceptance import Submission
from kaguan.outbox.task_type import Effect, Payload, TaskType
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Done, Outcome
from tests.support.apart import QUICK, accepted, done, laps, narrow_worker, quick_ones_are_done, running, waits
from tests.support.eventually import eventually
from tests.support.pipeline import Pipeline, open_pipeline, stepped_relay

PLACES = 3  # 与槽位一样多：占着槽位等的，别的就做不成
SLOW = TaskType("carrier:ask", Payload, Effect.REPEATABLE, shareable=True, resources={"carrier": PLACES})
TASKS = 30


@dataclass(slots=True)
class Carrier:
    """一次只答一个的运营商：答不答由用例说。"""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    inside: int = 0
    most: int = 0
    answered: list[UUID] = field(default_factory=list)

    async def __call__(self, attempt: Attempt) -> Outcome:
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


@pytest.fixture
async def pipeline(settings: Settings, pool: Pool) -> AsyncIterator[Pipeline]:
    async with open_pipeline(settings, pool) as opened:
        opened.relay = stepped_relay(settings, pool, opened.redis, opened.metrics, (SLOW, QUICK))
        yield opened


@pytest.mark.parametrize("workers", [1, 2])
async def test_slow_tasks_hold_neither_slot_nor_lane_and_go_on_one_by_one(pipeline: Pipeline, workers: int) -> None:
    """三十个等着运营商，各队列的信照样做完；运营商答一个，就叫回来一个，一个也不空转。"""
    carrier = Carrier()
    async with running(pipeline, *(narrow_worker(pipeline, {SLOW: carrier}, PLACES, f"w{n}") for n in range(workers))):
        asked = await accepted(pipeline, [Submission(SLOW, Payload(), Priority.LOW)] * TASKS)
        await eventually(lambda: waits(pipeline, "carrier/carrier:ask", TASKS - PLACES * workers))
        await quick_ones_are_done(pipeline)
        assert carrier.answered == []
        for _ in range(TASKS):
            carrier.turns.release()
        await eventually(lambda: done(pipeline, asked))
    assert carrier.most <= 2 * PLACES * workers
    deliveries, attempts = await laps(pipeline, SLOW.name)
    assert deliveries <= 4, "每个至多让位几次，不是一遍遍地空转"
    assert attempts == TASKS, "等名额不耗尝试"
