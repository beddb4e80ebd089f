"""凑成一次的意向与写入：一次提交，命运各归各的。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import pytest
from psycopg import OperationalError
from psycopg.errors import CheckViolation

from kaguan.config import Settings
from kaguan.database.pool import Connection, Pool
from kaguan.outbox.recover.calls import Calls
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.fence import FencedError
from kaguan.outbox.work.gathered import MOST, Gathered, Read, Reads
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


async def played(pipeline: Pipeline, crowd: Handler[Any], task_ids: Sequence[UUID]) -> None:
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


class Reading:
    """都到齐了才一起读：读因此撞在一起。"""

    def __init__(self, read: Read[UUID, str]) -> None:
        self.all_here = asyncio.Barrier(COUNT)
        self.read = read

    async def __call__(self, attempt: Attempt) -> Outcome:
        await self.all_here.wait()
        return Done({"read": await attempt.read(self.read, attempt.task_id)})


async def test_what_is_read_at_the_same_moment_is_one_statement_and_each_has_its_own_answer(
    pipeline: Pipeline,
) -> None:
    batches: list[int] = []

    async def type_of(connection: Connection, keys: Sequence[UUID]) -> list[str]:
        batches.append(len(keys))
        await connection.execute("select 1")
        return [str(key) for key in keys]

    await played(pipeline, Reading(type_of), await pipeline.submit(COUNT))
    answers = await pipeline.sql("select id::text, result ->> 'read' from vw_task where status = 'succeeded'")
    assert len(answers) == COUNT
    assert all(task_id == answer for task_id, answer in answers)
    assert sum(batches) == COUNT > len(batches)


async def test_one_whose_key_cannot_be_read_fails_alone(pipeline: Pipeline) -> None:
    task_ids = await pipeline.submit(COUNT)

    async def read(_: Connection, keys: Sequence[UUID]) -> list[str]:
        if task_ids[3] in keys:
            raise CheckViolation("broken")
        return ["read"] * len(keys)

    await played(pipeline, Reading(read), task_ids)
    assert {task_id: await pipeline.status(task_id) for task_id in task_ids} == {
        task_id: "retrying" if task_id == task_ids[3] else "succeeded" for task_id in task_ids
    }


async def test_a_database_that_does_not_answer_is_ours_and_not_somebody_outside(pool: Pool) -> None:
    """等不到的读是库的事：处理器不会因此被当作叫过外面。"""

    async def late(_: Connection, __: Sequence[int]) -> list[int]:
        raise TimeoutError

    with pytest.raises(OperationalError):
        await Reads(pool).read(late, 1)


async def test_a_read_used_wrongly_is_refused_in_words(pool: Pool) -> None:
    async def too_few(_: Connection, keys: Sequence[int]) -> list[int]:
        return list(keys)[1:]

    reads = Reads(pool)
    with pytest.raises(ValueError, match="asked for 1 and answered 0"):
        await reads.read(too_few, 7)

    async def made_anew(number: int) -> int:
        async def read(_: Connection, keys: Sequence[int]) -> list[int]:
            return [key + number for key in keys]

        return await reads.read(read, 1)

    answers = [await made_anew(number) for number in range(MOST - 1)]
    assert answers == list(range(1, MOST))
    with pytest.raises(RuntimeError, match="not one made in the handler"):
        await made_anew(MOST)


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
