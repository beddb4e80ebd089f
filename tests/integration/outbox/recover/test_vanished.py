"""不见了的任务：投递还在 Redis 里，PostgreSQL 却不认得它。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from kaguan.config import load_settings
from kaguan.database.pool import Pool
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.deliver.deliveries import Delivery, enqueue_many
from kaguan.outbox.operate.retention import Retention
from kaguan.outbox.recover import vanished
from kaguan.outbox.recover.vanished import VanishedTask
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Done, Outcome
from kaguan.product.task_types import TASK_TYPES
from tests.support.eventually import eventually
from tests.support.fault_plant import Effects
from tests.support.pipeline import Pipeline, open_pipeline
from tests.support.said import capture_logs

pytestmark = pytest.mark.unjudged("不见了的任务没有历史")
MAIL = EMAIL_SEND.name
FORGET = "with forgotten as (delete from tb_outbox), dropped as (delete from tb_work) delete from tb_task"


@pytest.fixture
async def pipeline(environ: dict[str, str], pool: Pool) -> AsyncIterator[Pipeline]:
    async with open_pipeline(load_settings(environ), pool) as opened:
        await opened.sql("create table fault_effect (task_id uuid not null, delivery int not null)")
        yield opened


def counted(pipeline: Pipeline, task_type: str = MAIL) -> tuple[float, float]:
    """（不见了的，重复的）。"""
    names = ("kaguan_vanished_deliveries_total", "kaguan_duplicates_suppressed_total")
    gone, doubled = (pipeline.metrics.registry.get_sample_value(name, {"type": task_type}) or 0.0 for name in names)
    return gone, doubled


async def listed(pipeline: Pipeline) -> list[VanishedTask]:
    async with pipeline.pool.connection() as connection:
        return (await vanished.page(connection, 10)).rows


async def taken(pipeline: Pipeline) -> bool:
    return await pipeline.jobs() == []


async def met(pipeline: Pipeline, *task_ids: UUID) -> None:
    """Redis 里冒出它们的头一次投递，worker 取走。"""
    await pipeline.redis.flushdb()  # 任务锁与记号早没了
    stale = Delivery(Priority.DEFAULT, MAIL, [(task_id, 1) for task_id in task_ids], job="shared:stale")
    await enqueue_many(pipeline.queues, [stale], 600, 0.0)
    async with pipeline.working(Effects()):
        await eventually(lambda: taken(pipeline))


async def test_what_postgresql_forgot_is_named_with_its_request_and_never_called_a_duplicate(
    pipeline: Pipeline,
) -> None:
    named, nameless = await pipeline.submit(request_id="order-17") + await pipeline.submit()
    await pipeline.forwarder.run_once()
    await pipeline.sql(FORGET)
    with capture_logs() as logs:
        async with pipeline.working(Effects()):
            await eventually(lambda: taken(pipeline))
    found = {one.task_id: (one.type, one.request_id, one.delivery) for one in await listed(pipeline)}
    assert found == {named: (MAIL, "order-17", 1), nameless: (MAIL, None, 1)}
    assert counted(pipeline) == (2.0, 0.0)
    assert {one["request_id"] for one in logs if one["log_level"] == "error"} == {"order-17", None}
    # 又来一份：已经记过，不再数一遍，也不是重复
    await met(pipeline, named)
    assert len(await listed(pipeline)) == 2


async def test_what_vanished_in_the_hands_of_a_worker_is_named_when_its_result_is_fenced(pipeline: Pipeline) -> None:
    async def forgotten_meanwhile(attempt: Attempt) -> Outcome:
        await pipeline.sql(FORGET)
        return Done({"n": attempt.attempt})

    (task_id,) = await pipeline.submit(request_id="order-18")
    await pipeline.forwarder.run_once()
    async with pipeline.working(forgotten_meanwhile):
        await eventually(lambda: counted(pipeline) == (1.0, 0.0))
    assert [(one.task_id, one.request_id, one.delivery) for one in await listed(pipeline)] == [(task_id, "order-18", 1)]


@pytest.mark.parametrize("task_id", [uuid4(), UUID("00000000-0000-7000-8000-000000000000")])
async def test_a_number_not_ours_or_older_than_the_retention_is_only_a_stale_delivery(
    pipeline: Pipeline, task_id: UUID
) -> None:
    await met(pipeline, task_id)
    assert await listed(pipeline) == []
    assert counted(pipeline) == (0.0, 1.0)


async def test_one_that_was_done_is_a_duplicate_beside_one_that_vanished(pipeline: Pipeline) -> None:
    done, gone = await pipeline.submit(2)
    await pipeline.forwarder.run_once()
    async with pipeline.working(Effects()):
        await eventually(lambda: taken(pipeline))
    await pipeline.sql("delete from tb_work where task_id = %s", gone)
    await pipeline.sql("delete from tb_task where id = %s", gone)
    await met(pipeline, done, gone)
    assert [one.task_id for one in await listed(pipeline)] == [gone]
    assert counted(pipeline) == (1.0, 1.0)


async def test_the_list_is_paged_and_kept_as_long_as_the_tasks(pipeline: Pipeline) -> None:
    await pipeline.sql(
        "insert into tb_vanished (task_id, type, delivery, first_seen)"
        " select ('0190000000007000800000000000000' || n)::uuid, 'email:send', 1, now() - n * interval '20 days'"
        " from generate_series(1, 3) n"
    )
    async with pipeline.pool.connection() as connection:
        first = await vanished.page(connection, 2)
        rest = await vanished.page(connection, 2, first.older)
    assert [[one.task_id.int & 15 for one in found.rows] for found in (first, rest)] == [[3, 2], [1]]
    assert rest.older is None
    assert await Retention(pipeline.pool, pipeline.settings.tasks).run_once() == 2
    assert [one.task_id.int & 15 for one in await listed(pipeline)] == [1]


async def test_a_call_whose_task_was_forgotten_with_its_end_is_named_once(pipeline: Pipeline) -> None:
    """寄出、结算、连投递都收走了，才丢的尾巴：没有 worker 会再碰上它，只有记着的外部调用说得出。"""
    gone, kept = await pipeline.submit(2)
    await pipeline.epoch.run_once()
    await pipeline.forwarder.run_once()
    await pipeline.epoch.run_once()  # 水位抄进了 Redis：记着的才信得过
    await pipeline.note((gone, 1), (kept, 1))
    await pipeline.sql("delete from tb_work where task_id = %s", gone)
    await pipeline.sql("delete from tb_task where id = %s", gone)
    for _ in range(2):
        await pipeline.sql("update tb_broker set incarnation = '-infinity', history = '1:00000001'")
        await pipeline.epoch.run_once()
    unknown = "|".join(TaskTypes(TASK_TYPES).once)  # 收不回的里哪一种，已无从得知
    assert [(one.task_id, one.type, one.request_id, one.delivery) for one in await listed(pipeline)] == [
        (gone, unknown, None, 1)
    ]
    assert counted(pipeline, unknown)[0] == 1
