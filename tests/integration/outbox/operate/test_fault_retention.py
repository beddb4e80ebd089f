"""保留期：没了结的一行也不删；删了之后才迟到的投递什么也做不成（FAULTS.md 51、52）。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from kaguan.config import load_settings
from kaguan.database.pool import Pool
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.deliver.deliveries import Delivery, enqueue_many
from kaguan.outbox.operate.retention import Retention
from kaguan.outbox.tables import RECORDED
from kaguan.outbox.task_type import Payload
from kaguan.outbox.vocabulary import Priority, TaskStatus
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.fence import Fence, Token
from kaguan.outbox.work.settlement import note_fenced
from tests.support.eventually import eventually
from tests.support.fault_plant import EFFECT_TABLE, LASTING, QUICK, Effects, all_closed, effects, relaying
from tests.support.in_hand import HAND, HOLD
from tests.support.pipeline import Pipeline, open_pipeline

FINISHED = {TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED}
AGE = """
    update tb_task
    set created_at = moment, finished_at = moment from (select now() - interval '400 days') as long_ago (moment)
    where id = %s
"""
PUT = """
    update tb_task
    set status = %(status)s, created_at = moment, available_at = moment, queued_at = moment,
        finished_at = case when %(status)s in ('succeeded', 'failed', 'cancelled') then moment end
    from (select now() - interval '400 days') as long_ago (moment)
    where id = %(id)s
"""
NOTE = """
    insert into tb_task_event (task_id, kind, attempt, delivery, at)
    values (%s, 'redriven', 0, 1, now() - interval '400 days')
"""


@pytest.fixture
async def pipeline(environ: dict[str, str], pool: Pool) -> AsyncIterator[Pipeline]:
    async with open_pipeline(load_settings({**environ, **QUICK, **LASTING}), pool) as opened:
        await opened.sql(EFFECT_TABLE)
        yield opened


async def test_a_zombie_of_a_task_long_gone_leaves_no_trace_of_it(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    zombie = Attempt(Fence(pipeline.pool, Token(task_id, 1, uuid4())), "email:send", 1, 6, Payload())
    async with pipeline.pool.connection() as connection:
        await note_fenced(connection, zombie, "zombie")
        await connection.execute("delete from tb_task")
        await note_fenced(connection, zombie, "zombie")
    assert await pipeline.sql("select kind from tb_task_event") == [("fenced",)]


async def redelivered(pipeline: Pipeline, task_id: UUID) -> None:
    """Redis 里冒出一个很久以前的投递，worker 取走它。"""
    queue = pipeline.queues[Priority.DEFAULT]
    stale = Delivery(Priority.DEFAULT, EMAIL_SEND.name, [(task_id, 1)])
    await enqueue_many(pipeline.queues, [stale], 600, 0.0)

    async def taken() -> bool:
        return await queue.count("incomplete") == 0

    await eventually(taken)


async def test_a_delivery_that_outlived_its_task_does_nothing(pipeline: Pipeline) -> None:
    kept, gone = await pipeline.submit(2)
    handler = Effects()
    async with pipeline.working(handler):
        async with relaying(pipeline):
            await eventually(lambda: all_closed(pipeline))
        assert await effects(pipeline) == (2, 2)
        await pipeline.sql(AGE, gone)
        assert await Retention(pipeline.pool, pipeline.settings.tasks).run_once() == 1
        await pipeline.redis.flushdb()  # 任务锁与记号也早没了
        for task_id in (kept, gone):
            await redelivered(pipeline, task_id)
    assert len(handler.started) == 2
    assert await effects(pipeline) == (2, 2)
    assert await pipeline.sql("select id, status from vw_task") == [(kept, "succeeded")]


async def test_retention_rests_between_batches_and_looks_rarely_when_nothing_is_left(pipeline: Pipeline) -> None:
    """一口气删完，别人的受理、认领就得等着它。"""
    retention = Retention(pipeline.pool, pipeline.settings.tasks, batch=2, period=60.0)
    handler = Effects()
    old = await pipeline.submit(3)
    async with pipeline.working(handler), relaying(pipeline):
        await eventually(lambda: all_closed(pipeline))
    for task_id in old:
        await pipeline.sql(AGE, task_id)
    assert await retention.run_once() == 2
    assert 0 < retention.interval() < 60
    assert await retention.run_once() == 1
    assert retention.interval() == 60


@pytest.mark.unjudged("各种状态都是改出来的")
async def test_retention_never_touches_what_is_not_finished_however_old(pipeline: Pipeline) -> None:
    """任务、发件箱、事件、检查点都在；没了结的连结束时间都不许有（表的 CHECK）。"""
    by_status = dict(zip(TaskStatus, await pipeline.submit(len(TaskStatus)), strict=True))
    async with pipeline.pool.connection() as connection:
        for status, task_id in by_status.items():
            recorded = status if status in RECORDED else TaskStatus.PENDING
            await connection.execute(PUT.encode(), {"status": recorded, "id": task_id})
            await connection.execute(NOTE.encode(), (task_id,))
        await connection.execute(HAND, ([by_status[TaskStatus.QUEUED]],))
        await connection.execute(HOLD, ("w", "-400 days", [by_status[TaskStatus.RUNNING]]))
    retention = Retention(pipeline.pool, pipeline.settings.tasks)
    assert await retention.run_once() == len(FINISHED)
    assert await retention.run_once() == 0
    left = {row[0] for row in await pipeline.sql("select status from vw_task")}
    assert left == set(TaskStatus) - FINISHED
    for table in ("tb_outbox", "tb_task_event"):
        rows = await pipeline.sql(f"select count(distinct task_id) from {table}")
        assert rows == [(len(left),)]
    for status in left & set(RECORDED):
        with pytest.raises(Exception, match="ck_tb_task_finished"):
            await pipeline.sql("update tb_task set finished_at = now() where status = %s", status)
