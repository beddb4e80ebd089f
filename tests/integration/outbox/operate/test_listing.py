"""任务的列表：几种状态一起看的，看的是同一刻。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest

from kaguan.config import load_settings
from kaguan.database.pool import Pool
from kaguan.outbox.operate.listing import TaskFilter, task_page
from kaguan.outbox.vocabulary import FIRST_ID, LAST_ID, TaskStatus
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Done, Outcome, Snooze
from tests.support.eventually import eventually
from tests.support.fault_plant import QUICK, all_closed, relaying
from tests.support.pipeline import Pipeline, open_pipeline

OPEN = TaskFilter(
    FIRST_ID, LAST_ID, statuses=(TaskStatus.PENDING, TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.RETRYING)
)
ROUNDS = 30


class Restless:
    """做一下就让位，马上又来：在等、排着、在做，一圈圈地转。"""

    def __init__(self) -> None:
        self.rounds = 0
        self.tired = False

    async def __call__(self, attempt: Attempt) -> Outcome:
        attempt.call_nobody()
        self.rounds += 1
        return Done() if self.tired else Snooze("again")


@pytest.fixture
async def pipeline(environ: dict[str, str], pool: Pool) -> AsyncIterator[Pipeline]:
    async with open_pipeline(load_settings({**environ, **QUICK}), pool) as opened:
        yield opened


async def test_a_task_that_moves_while_it_is_looked_for_is_seen(pipeline: Pipeline) -> None:
    handler = Restless()
    (task_id,) = await pipeline.submit(1)
    seen: list[bool] = []
    async with pipeline.working(handler), relaying(pipeline), pipeline.pool.connection() as connection:
        while min(handler.rounds, len(seen)) < ROUNDS:
            page = await task_page(connection, OPEN, 10)
            seen.append([one.id for one in page.rows] == [task_id])
        handler.tired = True
        await eventually(partial(all_closed, pipeline))
    assert seen.count(False) == 0
