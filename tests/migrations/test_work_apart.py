"""手里的活与记录分开之后，0.2.0 的进程照旧写在任务行上：由触发器抄过来，也动不了新进程手里的（docs/adr/0035）。"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, LiteralString
from uuid import UUID, uuid4

import pytest

from kaguan.database import migrate
from kaguan.outbox.testing import Recorder
from kaguan.outbox.worker.attempt import Attempt
from kaguan.outbox.worker.claiming import Claims
from kaguan.outbox.worker.leases import Leases
from kaguan.outbox.worker.outcome import Done
from kaguan.outbox.worker.settlement import Settled, Settlement
from tests.support.pipeline import Pipeline, open_pipeline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kaguan.config import Settings
    from kaguan.database.pool import Pool

BEFORE = "0018"
LEASE = 60.0  # 秒
# 0.2.0 的语句，只留下写了什么
HANDED: LiteralString = """
with gone as (delete from tb_outbox where task_id = %(id)s)
update tb_task set status = 'queued', queued_at = clock_timestamp(), job = 'shared:1'
where id = %(id)s and status in ('pending', 'retrying')
"""
CLAIMED: LiteralString = """
update tb_task
set status = 'running', attempt = attempt + 1, worker = 'old', started_at = clock_timestamp(),
    lease_until = clock_timestamp() + interval '60 s', attempt_traceparent = null
where id = %(id)s and status in ('pending', 'queued', 'retrying')
"""
RENEWED: LiteralString = """
update tb_task set lease_until = clock_timestamp() + interval '1 hour' where id = %(id)s and status = 'running'
"""
RELEASED: LiteralString = "update tb_task set lease_until = '-infinity' where id = %(id)s and status = 'running'"
SETTLED: LiteralString = """
update tb_task
set status = 'succeeded', result = '{"by": "old"}', finished_at = clock_timestamp(), lease_until = null, worker = null
where id = %(id)s and status = 'running'
"""
RETRIED: LiteralString = """
with settled as (
    update tb_task
    set status = 'retrying', delivery = delivery + 1, queued_at = null, lease_until = null, worker = null
    where id = %(id)s and status = 'running'
    returning id, delivery, type
)
insert into tb_outbox (task_id, delivery, type, priority) select id, delivery, type, 1 from settled
"""
FORGOTTEN: LiteralString = """
with moved as (
    update tb_task set status = 'pending', delivery = delivery + 1, queued_at = null, available_at = clock_timestamp()
    where id = %(id)s and status = 'queued'
    returning id, delivery, type
)
insert into tb_outbox (task_id, delivery, type, priority) select id, delivery, type, 1 from moved
"""
ORPHANED: LiteralString = """
with moved as (
    update tb_task set delivery = delivery + 1 where id = %(id)s and status in ('pending', 'retrying')
    returning id, delivery, type
)
insert into tb_outbox (task_id, delivery, type, priority) select id, delivery, type, 1 from moved
"""
CANCELLED: LiteralString = """
update tb_task
set status = case when intent_at is null then 'cancelled' else 'uncertain' end,
    finished_at = case when intent_at is null then clock_timestamp() end
where id = %(id)s and status in ('pending', 'queued', 'retrying')
"""
WORK = "select delivery, attempt, worker, job, claim_id is null from tb_work where task_id = %s"


@pytest.fixture
async def pipeline(settings: Settings, pool: Pool) -> AsyncIterator[Pipeline]:
    async with open_pipeline(settings, pool) as opened:
        yield opened


async def old(pipeline: Pipeline, statement: LiteralString, task_id: UUID) -> int:
    """0.2.0 的一条语句；返回动了几行。"""
    async with pipeline.pool.connection() as connection:
        return (await connection.execute(statement, {"id": task_id})).rowcount


async def claimed(pipeline: Pipeline, task_id: UUID, delivery: int = 1) -> Attempt:
    """新的 worker 认领。"""
    (claim,) = await Claims(pipeline.pool, Leases(pipeline.pool, "new", LEASE)).claim([(task_id, delivery)])
    return Attempt(pipeline.pool, claim.token, claim.type, claim.attempt, claim.max_attempts, claim.payload)


async def settled(pipeline: Pipeline, attempt: Attempt) -> bool:
    settlement = Settlement(pipeline.pool, "new", pipeline.settings.tasks)
    return isinstance(await settlement.settle(attempt, Done({"by": "new"})), Settled)


async def test_what_the_previous_release_does_is_seen_as_if_we_had_done_it(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    assert await old(pipeline, HANDED, task_id) == 1
    assert await pipeline.sql(WORK, task_id) == [(1, None, None, "shared:1", True)]
    assert await pipeline.status(task_id) == "queued"
    assert await old(pipeline, CLAIMED, task_id) == 1
    assert await pipeline.sql(WORK, task_id) == [(1, 1, "old", "shared:1", True)]
    record = await pipeline.task(task_id)
    assert (record.status, record.attempt, record.worker) == ("running", 1, "old")
    assert await old(pipeline, RENEWED, task_id) == 1
    renewed = "select lease_until > clock_timestamp() + interval '30 min' from tb_work"
    assert await pipeline.sql(renewed) == [(True,)]
    assert await old(pipeline, RETRIED, task_id) == 1
    assert await pipeline.sql("select from tb_work") == []
    assert await pipeline.status(task_id) == "retrying"
    assert await old(pipeline, CLAIMED, task_id) == 1
    assert await old(pipeline, SETTLED, task_id) == 1
    assert await pipeline.sql("select from tb_work") == []
    assert await pipeline.status(task_id) == "succeeded"


async def test_what_an_old_worker_hands_back_or_loses_is_redriven_by_a_new_relay(pipeline: Pipeline) -> None:
    returned, lost = await pipeline.submit(2)
    for task_id in (returned, lost):
        await old(pipeline, CLAIMED, task_id)
    await old(pipeline, RELEASED, returned)
    await pipeline.sql("update tb_task set lease_until = clock_timestamp() - interval '1 s' where id = %s", lost)
    assert await pipeline.leases_redrive.run_once() == 2
    assert await pipeline.sql("select from tb_work") == []
    rows = "select status, delivery, attempt, lost_leases, worker from tb_task order by lost_leases"
    assert await pipeline.sql(rows) == [("pending", 2, 0, 0, None), ("pending", 2, 0, 1, None)]
    assert await old(pipeline, SETTLED, lost) == 0


async def test_a_new_worker_takes_what_an_old_relay_handed_over(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await old(pipeline, HANDED, task_id)
    attempt = await claimed(pipeline, task_id)
    assert await pipeline.status(task_id) == "running"
    assert await old(pipeline, CLAIMED, task_id) == 0
    assert await old(pipeline, FORGOTTEN, task_id) == 0
    assert await settled(pipeline, attempt)
    assert await pipeline.sql("select status, attempt from tb_task") == [("succeeded", 1)]
    assert await pipeline.sql("select from tb_work") == []


async def test_an_old_process_moves_nothing_that_a_new_worker_holds(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    assert await old(pipeline, ORPHANED, task_id) == 0  # 交出了，不是漏了
    attempt = await claimed(pipeline, task_id)
    for statement in (CLAIMED, ORPHANED, FORGOTTEN):
        assert await old(pipeline, statement, task_id) == 0
    assert await pipeline.sql("select from tb_outbox") == []
    async with attempt.transaction() as connection:
        await attempt.declare_intent(connection)
    assert await old(pipeline, CANCELLED, task_id) == 1
    record = await pipeline.task(task_id)
    assert (record.status, record.cancel_requested_at is not None) == ("running", True)
    assert await settled(pipeline, attempt)
    assert await pipeline.status(task_id) == "succeeded"


@pytest.mark.parametrize("intended", [False, True])
async def test_an_old_api_cancels_what_is_only_handed_over(pipeline: Pipeline, *, intended: bool) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    if intended:
        await pipeline.sql("update tb_task set intent_at = now()")
    assert await old(pipeline, CANCELLED, task_id) == 1
    assert await pipeline.status(task_id) == ("uncertain" if intended else "cancelled")
    assert await pipeline.sql("select from tb_work") == []


async def test_a_forgotten_delivery_of_an_old_relay_is_redriven_by_either(pipeline: Pipeline) -> None:
    by_old, by_new = await pipeline.submit(2)
    for task_id in (by_old, by_new):
        await old(pipeline, HANDED, task_id)
    assert await old(pipeline, FORGOTTEN, by_old) == 1
    await pipeline.sql("update tb_work set queued_at = queued_at - interval '1 hour'")
    await pipeline.presence.run_once()
    assert await pipeline.sql("select from tb_work") == []
    assert await pipeline.sql("select status, delivery from tb_task") == [("pending", 2)] * 2


async def test_what_is_in_hand_moves_with_the_migration_and_back(pipeline: Pipeline, database_url: str) -> None:
    waiting, queued, running = await pipeline.submit(3)
    await asyncio.to_thread(migrate.downgrade, database_url, BEFORE)
    await old(pipeline, HANDED, queued)
    await old(pipeline, CLAIMED, running)
    await asyncio.to_thread(migrate.upgrade, database_url)
    assert [await pipeline.status(one) for one in (waiting, queued, running)] == ["pending", "queued", "running"]
    assert await pipeline.sql(WORK, running) == [(1, 1, "old", None, True)]
    attempt = await claimed(pipeline, queued)
    await pipeline.forwarder.run_once()
    await asyncio.to_thread(migrate.downgrade, database_url, BEFORE)
    rows = "select status, attempt, worker, claim_id from tb_task where id = any(%s) order by id"
    assert await pipeline.sql(rows, [waiting, queued, running]) == [
        ("queued", 0, None, None), ("running", 1, "new", attempt.token.claim_id), ("running", 1, "old", None),
    ]  # fmt: skip
    assert await old(pipeline, SETTLED, running) == 1
    await asyncio.to_thread(migrate.upgrade, database_url)
    assert [await pipeline.status(one) for one in (waiting, queued, running)] == ["queued", "running", "succeeded"]


async def test_a_row_of_an_ended_task_is_swept_when_its_lease_is_over(pipeline: Pipeline) -> None:
    """不该有；有了也不留着。"""
    (task_id,) = await pipeline.submit()
    await pipeline.execution(Recorder())({}, deliveries=[(str(task_id), 1)])
    await pipeline.sql(
        "insert into tb_work (task_id, delivery, priority, claim_id, attempt, worker, lease_until)"
        " values (%s, 1, 1, %s, 1, 'w', now() - interval '1 s')",
        task_id,
        uuid4(),
    )
    assert await pipeline.status(task_id) == "succeeded"
    assert await pipeline.leases_redrive.run_once() == 0
    assert await pipeline.sql("select from tb_work") == []
