"""几个任务同乘一次投递：知道手快才同乘；认领、结算成批，坏的一个只害它自己，Redis 忘了也一样回来。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from saq.job import Job

from kaguan.config import load_settings
from kaguan.database.pool import Pool
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.deliver import pace
from kaguan.outbox.task_type import TaskType
from kaguan.outbox.testing import Recorder
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.claiming import Claims
from kaguan.outbox.work.leases import Leases
from kaguan.outbox.work.outcome import Discard, Done, Outcome, Retry
from kaguan.queues import keys
from kaguan.sims.tasks import DATA_SYNC
from tests.support.eventually import PATIENCE
from tests.support.pipeline import Pipeline, carried_by, open_pipeline
from tests.support.said import capture_logs

BACKLOG = 8
PACE = 0.12  # 秒：一次投递带四个


@pytest.fixture
async def pipeline(environ: dict[str, str], pool: Pool) -> AsyncIterator[Pipeline]:
    settings = load_settings({**environ, "KAGUAN_RELAY__PRESENCE_AGE": "0.000001"})
    async with open_pipeline(settings, pool) as opened:
        await pace.publish(opened.redis, {EMAIL_SEND.name: PACE})
        yield opened


async def packed(pipeline: Pipeline, count: int = BACKLOG) -> tuple[list[UUID], list[Job]]:
    tasks = await pipeline.submit(count)
    await pipeline.forwarder.run_once()
    return tasks, await pipeline.jobs()


async def statuses(pipeline: Pipeline) -> dict[str, int]:
    return dict(await pipeline.sql("select status, count(*)::int from vw_task group by status"))


async def test_what_is_due_shares_deliveries(pipeline: Pipeline) -> None:
    tasks, jobs = await packed(pipeline)
    assert [len(carried_by(job)) for job in jobs] == [4, 4]
    assert sorted(task_id for job in jobs for task_id, _ in carried_by(job)) == sorted(tasks)


@pytest.mark.parametrize("seconds", [0.3, None], ids=["slow", "unknown"])
async def test_slow_handlers_and_those_of_unknown_pace_never_share(
    environ: dict[str, str], pool: Pool, seconds: float | None
) -> None:
    async with open_pipeline(load_settings(environ), pool) as pipeline:
        if seconds is not None:
            await pace.publish(pipeline.redis, {EMAIL_SEND.name: seconds})
        _, jobs = await packed(pipeline)
        assert [len(carried_by(job)) for job in jobs] == [1] * BACKLOG


async def test_the_pace_is_asked_for_where_two_could_share(pipeline: Pipeline) -> None:
    for alone in (1, 1, 2):
        await pipeline.submit(alone)
        await pipeline.submit(1, Priority.LOW)
        before = await pipeline.redis.info("commandstats")
        assert await pipeline.forwarder.run_once() == alone + 1
        after = await pipeline.redis.info("commandstats")
        was, asked = (found.get("cmdstat_mget", {}).get("calls", 0) for found in (before, after))
        assert asked - was == alone - 1


@pytest.mark.parametrize(("task_type", "pace"), [(EMAIL_SEND, 0.001), (DATA_SYNC, 0.9), (DATA_SYNC, 1.0)])
async def test_what_is_quick_and_may_be_done_again_is_claimed_without_asking_for_its_lock(
    pipeline: Pipeline, task_type: TaskType[Any], pace: float
) -> None:
    ((task_id,), (job,)) = await packed(pipeline, 1)
    execution = pipeline.execution(Recorder([Done()]))
    job.function = task_type.name
    execution.slots.seconds[task_type.name] = pace
    await execution({"job": job}, **job.kwargs or {})
    assert await pipeline.status(task_id) == "succeeded"
    is_locked = await pipeline.redis.exists(keys.task_lock(pipeline.redis, task_id)) == 1
    assert is_locked == (task_type is EMAIL_SEND or pace >= 1)


async def test_workers_publish_how_long_an_attempt_takes(pipeline: Pipeline) -> None:
    await pipeline.submit()
    await pipeline.forwarder.run_once()
    execution = pipeline.execution(Recorder([Done()]))
    (job,) = await pipeline.jobs()
    await execution({}, **job.kwargs or {})
    publishing = pace.Pace(pipeline.redis, execution.slots.seconds, execution.slots.measured)
    assert await publishing.run_once() == 1
    written = await pipeline.redis.get(keys.PACE.format(EMAIL_SEND.name))
    assert written is not None
    assert float(written) == pytest.approx(execution.slots.seconds[EMAIL_SEND.name], abs=1e-6)
    assert await publishing.run_once() == 0


async def test_every_task_of_a_shared_delivery_gets_its_own_outcome(pipeline: Pipeline) -> None:
    _, jobs = await packed(pipeline)
    execution = pipeline.execution(Recorder([Done(), Discard("不行"), Retry("再来"), Done()]))
    await execution({}, **jobs[0].kwargs or {})
    assert await statuses(pipeline) == {"succeeded": 2, "failed": 1, "retrying": 1, "queued": BACKLOG - 4}


async def test_what_a_shared_delivery_did_is_one_line_and_every_other_end_has_its_own(pipeline: Pipeline) -> None:
    _, jobs = await packed(pipeline)
    execution = pipeline.execution(Recorder([Done(), Discard("不行"), Retry("再来"), Done()]))
    with capture_logs() as lines:
        await execution({}, **jobs[0].kwargs or {})
    done = await pipeline.sql("select id::text from vw_task where status = 'succeeded' order by id")
    (line,) = [line for line in lines if line["event"] == "任务完成"]
    assert sorted(line["task_ids"]) == [task_id for (task_id,) in done]
    assert (line["count"], line["task_type"], line["duration_ms"] >= 0) == (2, EMAIL_SEND.name, True)
    assert sorted(line["status"] for line in lines if line["event"] == "任务未完成") == ["failed", "retrying"]


async def test_the_tasks_of_a_delivery_run_side_by_side_as_far_as_there_are_slots(
    environ: dict[str, str], pool: Pool
) -> None:
    settings = load_settings({**environ, "KAGUAN_WORKER__CONCURRENCY": "3", "KAGUAN_WORKER__RESERVE": "0"})
    async with open_pipeline(settings, pool) as pipeline:
        await pace.publish(pipeline.redis, {EMAIL_SEND.name: PACE})
        _, jobs = await packed(pipeline)
        running: set[UUID] = set()
        most = 0
        full = asyncio.Event()

        async def handler(attempt: Attempt) -> Outcome:
            nonlocal most
            running.add(attempt.task_id)
            most = max(most, len(running))
            if len(running) == 3:
                full.set()
            await full.wait()
            running.discard(attempt.task_id)
            return Done()

        await pipeline.execution(handler)({}, **jobs[0].kwargs or {})
        assert most == 3


async def test_a_result_the_database_cannot_hold_fails_alone(pipeline: Pipeline) -> None:
    _, jobs = await packed(pipeline)
    execution = pipeline.execution(Recorder([Done(), Done({"text": "\0"}), Done(), Done()]))
    await execution({}, **jobs[0].kwargs or {})
    assert await statuses(pipeline) == {"succeeded": 3, "retrying": 1, "queued": BACKLOG - 4}


async def test_the_same_shared_delivery_twice_has_one_effect(pipeline: Pipeline) -> None:
    _, jobs = await packed(pipeline)
    handler = Recorder()
    execution, twin = pipeline.execution(handler), pipeline.execution(handler, "worker-b")
    await asyncio.gather(*(each({}, **jobs[0].kwargs or {}) for each in (execution, twin)))
    await twin({}, **jobs[0].kwargs or {})  # 做完之后又来一遍的，处理器也不许再做
    assert len(handler.attempts) == 4
    assert await statuses(pipeline) == {"succeeded": 4, "queued": BACKLOG - 4}


async def test_a_forgotten_shared_delivery_comes_back_and_a_live_one_stays(pipeline: Pipeline) -> None:
    _, jobs = await packed(pipeline)
    lost = jobs[0]
    await pipeline.queues[Priority.DEFAULT].finish(lost, "complete")  # type: ignore[arg-type] # SAQ 认字符串
    await pipeline.sql("update tb_work set queued_at = queued_at - interval '1 minute'")
    await pipeline.presence.run_once()
    back = await pipeline.sql("select task_id from tb_outbox")
    assert sorted(row[0] for row in back) == sorted(task_id for task_id, _ in carried_by(lost))


async def test_a_worker_dead_in_the_middle_gives_all_of_them_back_alone(pipeline: Pipeline) -> None:
    """其中一个击垮了 worker：重投时都单独走，无辜的不再受牵连。"""
    _, jobs = await packed(pipeline)
    started = asyncio.Event()

    async def stuck(attempt: Attempt) -> Outcome:
        del attempt
        started.set()
        await asyncio.Event().wait()
        return Done()

    execution = pipeline.execution(stuck)
    job = asyncio.create_task(execution({}, **jobs[0].kwargs or {}))
    await asyncio.wait_for(started.wait(), PATIENCE)
    await pipeline.sql(
        "update tb_work set lease_until = clock_timestamp() - interval '1 second' where lease_until is not null"
    )
    await pipeline.leases_redrive.run_once()
    assert await pipeline.sql("select alone, count(*)::int from tb_outbox group by alone") == [(True, 4)]
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    await pipeline.submit(BACKLOG)
    before = {job.key for job in jobs}
    await pipeline.forwarder.run_once()
    fresh = [job for job in await pipeline.jobs() if job.key not in before]
    assert sum(len(carried_by(job)) == 1 for job in fresh) == 4


async def test_a_stop_in_the_middle_hands_back_the_rest_uncounted(pipeline: Pipeline) -> None:
    _, jobs = await packed(pipeline)
    started = asyncio.Event()

    async def stuck(attempt: Attempt) -> Outcome:
        del attempt
        started.set()
        await asyncio.Event().wait()
        return Done()

    execution = pipeline.execution(stuck)
    job = asyncio.create_task(execution({}, **jobs[0].kwargs or {}))
    await asyncio.wait_for(started.wait(), PATIENCE)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert await execution.leases.release_all() == 4
    assert await pipeline.leases_redrive.run_once() == 4
    assert await pipeline.sql("select distinct attempt, lost_leases from vw_task where status = 'pending'") == [(0, 0)]


@pytest.mark.usefixtures("brief_locks")
async def test_what_is_claimed_does_not_lose_its_lease_while_locked_siblings_are_awaited(pipeline: Pipeline) -> None:
    won, *locked = await pipeline.submit(9)
    await pipeline.forwarder.run_once()
    claims = Claims(pipeline.pool, Leases(pipeline.pool, "worker-a", lease=3.0))
    async with pipeline.pool.connection() as other, other.transaction():
        await other.execute("select 1 from tb_task where id = any(%s) for update", [locked])
        claimed = await claims.claim([(task_id, 1) for task_id in (won, *locked)])
        assert [claim.id for claim in claimed] == [won]
        held = "select lease_until > clock_timestamp() from vw_task where id = %s"
        assert await pipeline.sql(held, won) == [(True,)]


async def test_two_copies_of_a_delivery_claimed_in_one_batch_run_it_once(pipeline: Pipeline) -> None:
    """交出的提交没有回音，relay 又交一遍；两份同时取到，认领折成一条语句。"""
    tasks = await pipeline.submit(2)
    handler = Recorder()
    execution = pipeline.execution(handler)
    copy = [(str(task_id), 1) for task_id in tasks]
    await asyncio.gather(execution({}, deliveries=copy), execution({}, deliveries=copy))
    assert sorted(attempt.task_id for attempt in handler.attempts) == sorted(tasks)
    assert await pipeline.sql("select count(*) from tb_task_event where kind = 'fenced'") == [(0,)]
