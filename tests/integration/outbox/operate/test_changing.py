"""改一个等着的任务：交出了的换新的投递号，旧的那一份不作数；有序键上的次序不变；在跑的、结束了的改不了。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from kaguan.config import Settings
from kaguan.database.pool import Pool
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.errors import TaskNotFoundError, TaskStatusError
from kaguan.outbox.operate.changing import Changing, change
from kaguan.outbox.operate.pauses import Pausing, pause
from kaguan.outbox.testing import Recorder
from kaguan.outbox.vocabulary import PauseScope, Priority
from kaguan.outbox.work.outcome import Retry
from tests.support.eventually import eventually
from tests.support.pipeline import Pipeline, carried_by, duplicates, open_pipeline

pytestmark = pytest.mark.unjudged("人改等着的任务，模型里没有这一步")
LATER, NOW = datetime(2100, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC)
ROW = "select priority, available_at = %s, waiting_for from tb_outbox where task_id = %s"


@pytest.fixture
async def pipeline(settings: Settings, pool: Pool) -> AsyncIterator[Pipeline]:
    async with open_pipeline(settings, pool) as opened:
        yield opened


async def changed(
    pipeline: Pipeline, task_id: UUID, priority: Priority | None = None, due: datetime | None = None
) -> str:
    async with pipeline.pool.connection() as connection, connection.transaction():
        return await change(connection, task_id, "ann", Changing("asked", priority, due))


async def walk(pipeline: Pipeline, recorder: Recorder) -> list[UUID]:
    """交出、取走、执行一遍；返回做了哪些。"""
    await pipeline.forwarder.run_once()
    before, execution = len(recorder.attempts), pipeline.execution(recorder)
    for priority in Priority:
        for job in await pipeline.jobs(priority):
            await execution({"job": job}, **job.kwargs or {})
    return [attempt.task_id for attempt in recorder.attempts[before:]]


async def test_what_waits_goes_to_another_queue_and_another_time(pipeline: Pipeline) -> None:
    [task_id] = await pipeline.submit()
    assert await changed(pipeline, task_id, Priority.LOW, LATER) == "pending"
    assert await pipeline.sql(ROW, LATER, task_id) == [(2, True, None)]
    recorder = Recorder()
    assert await walk(pipeline, recorder) == []
    await changed(pipeline, task_id, due=NOW)
    await pipeline.forwarder.run_once()
    assert [carried_by(job) for job in await pipeline.jobs(Priority.LOW)] == [[(task_id, 3)]]
    assert await walk(pipeline, recorder) == [task_id]
    told = await pipeline.sql("select actor, detail ->> 'note' from tb_task_event where kind = 'changed'")
    assert told == [("ann", "asked")] * 2


async def test_what_was_handed_over_starts_once_and_not_before_its_time(pipeline: Pipeline) -> None:
    """队列里的旧投递还在：认领不到；改回马上的，只做一次。"""
    [task_id] = await pipeline.submit()
    await pipeline.forwarder.run_once()
    recorder = Recorder()
    await changed(pipeline, task_id, due=LATER)
    assert await walk(pipeline, recorder) == []
    await changed(pipeline, task_id, Priority.CRITICAL, NOW)
    assert await walk(pipeline, recorder) == [task_id]
    assert await walk(pipeline, recorder) == []
    task = await pipeline.task(task_id)
    assert (task.status, task.queue, task.attempt) == ("succeeded", "critical", 1)
    assert duplicates(pipeline) > 0


async def test_a_change_in_the_middle_of_a_hand_over_holds(pipeline: Pipeline) -> None:
    """relay 拿着发件箱的行、已入队而没有提交：它提交了也不作数。"""
    [task_id] = await pipeline.submit()
    async with pipeline.pool.connection() as relay, relay.transaction():
        await relay.execute("delete from tb_outbox where task_id = %s", (task_id,))
        async with pipeline.pool.connection() as person, person.transaction():
            doing = asyncio.create_task(change(person, task_id, "ann", Changing("asked", Priority.LOW, LATER)))
            await eventually(pipeline.is_waiting_for_a_lock)
            await relay.execute("commit")
            await doing
    assert await pipeline.sql(ROW, LATER, task_id) == [(2, True, None)]


async def test_on_a_key_it_keeps_its_place_and_is_let_go_as_changed(pipeline: Pipeline) -> None:
    first, second, third = await pipeline.submit(3, principal="ann", ordering_key="card")
    await changed(pipeline, third, Priority.CRITICAL)
    assert await pipeline.sql("select task_id from tb_outbox") == [(first,)]
    recorder = Recorder()
    assert [await walk(pipeline, recorder) for _ in range(3)] == [[first], [second], [third]]
    assert (await pipeline.task(third)).queue == "critical"


async def test_a_retry_comes_at_once_and_keeps_its_attempts(pipeline: Pipeline) -> None:
    [task_id] = await pipeline.submit()
    recorder = Recorder([Retry("again", delay=3_600.0)])
    await walk(pipeline, recorder)
    assert await walk(pipeline, recorder) == []
    assert await changed(pipeline, task_id, due=NOW) == "retrying"
    assert await walk(pipeline, recorder) == [task_id]
    assert (await pipeline.task(task_id)).attempt == 2


async def test_a_change_does_not_lift_a_pause(pipeline: Pipeline) -> None:
    async with pipeline.pool.connection() as connection:
        await pause(connection, Pausing(PauseScope.TYPE, EMAIL_SEND.name, "r", timedelta(hours=1)), "ann")
    [task_id] = await pipeline.submit()
    recorder = Recorder()
    await walk(pipeline, recorder)
    await changed(pipeline, task_id, Priority.CRITICAL, NOW)
    assert await walk(pipeline, recorder) == []
    await pipeline.sql("delete from tb_pause")
    await pipeline.come_due()
    assert await walk(pipeline, recorder) == [task_id]


async def test_a_repeated_submission_still_gets_the_first_answer(pipeline: Pipeline) -> None:
    [task_id] = await pipeline.submit(request_id="once", principal="ann")
    await changed(pipeline, task_id, Priority.LOW, LATER)
    assert await pipeline.submit(request_id="once", principal="ann") == [task_id]


async def test_what_runs_has_ended_or_is_not_there_cannot_be_changed(pipeline: Pipeline) -> None:
    [task_id] = await pipeline.submit()
    await walk(pipeline, Recorder())
    with pytest.raises(TaskStatusError, match="succeeded"):
        await changed(pipeline, task_id, due=NOW)
    with pytest.raises(TaskNotFoundError):
        await changed(pipeline, uuid4(), due=NOW)
    for wrong in ({"reason": " ", "due": NOW}, {"reason": "r"}, {"reason": "r", "due": NOW.replace(tzinfo=None)}):
        with pytest.raises(ValueError, match=" / "):
            Changing(**wrong)
