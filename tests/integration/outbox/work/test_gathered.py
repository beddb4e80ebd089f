"""凑成一次的意向与写入：一次提交，命运各归各的。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import pytest
from psycopg.errors import CheckViolation

from kaguan.config import Settings
from kaguan.database.pool import Connection, Pool
from kaguan.outbox.recover.calls import Calls
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.fence import FencedError
from kaguan.outbox.work.gathered import Gathered
from kaguan.outbox.work.outcome import Done, Outcome
from tests.support.pipeline import Pipeline, open_pipeline
from tests.support.running_task import taken_over

COUNT = 8
TOGETHER = "select count(distinct xmin::text)::int, count(*)::int from tb_sim_event"
EVENT = "insert into tb_sim_event (iccid, old_state, new_state, source) select unnest(%s::text[]), 'a', 'b', 't'"


async def note(connection: Connection, rows: Sequence[str]) -> list[str]:
    """几行一条语句；``broken`` 那一行写不成。"""
    if "broken" in rows:
        raise CheckViolation("broken")
    await connection.execute(EVENT, (list(rows),))
    return [row.upper() for row in rows]


@pytest.fixture
async def pipeline(settings: Settings, pool: Pool) -> AsyncIterator[Pipeline]:
    async with open_pipeline(settings, pool) as opened:
        yield opened


class Crowd:
    """都到齐了才一起往下走：意向、结算因此撞在一起。"""

    def __init__(self, broken: UUID | None = None, *, intends: bool = False) -> None:
        self.all_here = asyncio.Barrier(COUNT)
        self.broken = broken
        self.intends = intends
        self.answers: list[str | None] = []

    async def __call__(self, attempt: Attempt) -> Outcome:
        row = "broken" if attempt.task_id == self.broken else f"{attempt.task_id}"
        await self.all_here.wait()
        if self.intends:
            self.answers.append(await attempt.intend(Gathered(note, row)))
            return Done()
        attempt.call_nobody()
        return Done({"row": row}, Gathered(note, row))


async def played(pipeline: Pipeline, crowd: Crowd, task_ids: Sequence[UUID]) -> None:
    await pipeline.forwarder.run_once()
    execution = pipeline.execution(crowd)
    await asyncio.gather(*[execution({}, deliveries=[(str(task_id), 1)]) for task_id in task_ids])


async def test_writes_of_tasks_that_end_together_are_one_commit(pipeline: Pipeline) -> None:
    await played(pipeline, Crowd(), await pipeline.submit(COUNT))
    assert await pipeline.sql("select status, count(*)::int from vw_task group by status") == [("succeeded", COUNT)]
    ((commits, rows),) = await pipeline.sql(TOGETHER)
    assert rows == COUNT
    assert commits < COUNT


async def test_one_that_cannot_be_written_fails_alone(pipeline: Pipeline) -> None:
    task_ids = await pipeline.submit(COUNT)
    await played(pipeline, Crowd(task_ids[3]), task_ids)
    assert {task_id: await pipeline.status(task_id) for task_id in task_ids} == {
        task_id: "retrying" if task_id == task_ids[3] else "succeeded" for task_id in task_ids
    }
    ((_, rows),) = await pipeline.sql(TOGETHER)
    assert rows == COUNT - 1


async def test_intents_that_meet_are_one_commit_and_each_has_its_own_answer(pipeline: Pipeline) -> None:
    task_ids = await pipeline.submit(COUNT)
    crowd = Crowd(intends=True)
    await played(pipeline, crowd, task_ids)
    assert sorted(map(str, crowd.answers)) == sorted(str(task_id).upper() for task_id in task_ids)
    ((commits, rows),) = await pipeline.sql(TOGETHER)
    assert rows == COUNT
    assert commits < COUNT
    noted = [page async for page in Calls(pipeline.redis, pipeline.settings.tasks).pages(await pipeline.seal())]
    assert sorted(task_id for page in noted for task_id, _ in page) == sorted(task_ids)


@pytest.mark.unjudged("投递号是改出来的")
async def test_one_that_lost_its_task_declares_nothing_and_the_others_do(pipeline: Pipeline) -> None:
    task_ids = await pipeline.submit(COUNT)
    fenced: list[UUID] = []

    class Overtaken(Crowd):
        async def __call__(self, attempt: Attempt) -> Outcome:
            if attempt.task_id == task_ids[0]:
                await taken_over(pipeline.pool, attempt.task_id)
            try:
                return await super().__call__(attempt)
            except FencedError:
                fenced.append(attempt.task_id)
                raise

    await played(pipeline, Overtaken(intends=True), task_ids)
    assert fenced == [task_ids[0]]
    assert await pipeline.sql("select id from tb_task where intent_at is not null") == []
    ((_, rows),) = await pipeline.sql(TOGETHER)
    assert rows == COUNT - 1
    assert await pipeline.sql("select count(*)::int from tb_task where status = 'succeeded'") == [(COUNT - 1,)]
