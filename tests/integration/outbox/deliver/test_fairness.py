"""公平：一个提交者排了几千个，不挡着别人的一个；各种来路都一样，同一个提交者仍是先来先做（docs/adr/0028）。"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from kaguan.config import Settings, load_settings
from kaguan.database.pool import Pool
from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox.accept.acceptance import Submission, accept_many
from kaguan.outbox.operate import decisions
from kaguan.outbox.testing import Recorder
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.outcome import Done, Retry, Snooze
from kaguan.queues.client import open_redis
from kaguan.tokens import service as tokens
from kaguan.tokens.service import SCOPES
from tests.support.eventually import PATIENCE
from tests.support.pipeline import MAX_ATTEMPTS, Pipeline, open_pipeline
from tests.support.serving import Api

pytestmark = pytest.mark.unjudged("成千的任务只看交出的先后，不走完全程")
BULK = 1_000
PAGE = 1_000
BATCH = 100
SELDOM = 1e9  # 从头看过一眼之后，再也不从头看：靠记得的位置就该都取得到
PAYLOAD = EmailPayload(to=("a@example.com",), subject="s", body="b")
DUE_NOW = "update tb_outbox set available_at = clock_timestamp() where task_id = any(%s)"


@pytest.fixture
def small(environ: dict[str, str]) -> Settings:
    return load_settings({**environ, "KAGUAN_RELAY__BATCH_SIZE": str(BATCH)})


@pytest.fixture
async def pipeline(small: Settings, pool: Pool) -> AsyncIterator[Pipeline]:
    async with open_pipeline(small, pool, SELDOM) as opened:
        yield opened


async def submit(pipeline: Pipeline, principal: str, count: int, **options: Any) -> list[UUID]:
    task_ids: list[UUID] = []
    async with pipeline.pool.connection() as connection:
        for start in range(0, count, PAGE):
            page = [Submission(EMAIL_SEND, PAYLOAD, principal=principal, **options)] * min(PAGE, count - start)
            outcomes = await accept_many(connection, page, MAX_ATTEMPTS)
            task_ids += [outcome.task_id for outcome in outcomes if not isinstance(outcome, Exception)]
    return task_ids


async def queued(pipeline: Pipeline) -> dict[UUID, str]:
    rows = await pipeline.sql("select id, principal from vw_task where status = 'queued'")
    return {row[0]: row[1] for row in rows}


async def hand_over(pipeline: Pipeline) -> Counter[str]:
    """转交一批；返回各提交者交出了几个。"""
    before = await queued(pipeline)
    await pipeline.forwarder.run_once()
    return Counter(principal for task_id, principal in (await queued(pipeline)).items() if task_id not in before)


async def backlog_of(pipeline: Pipeline, principal: str = "bulk", count: int = BULK, **options: Any) -> list[UUID]:
    """``principal`` 积压着，relay 已认得它。"""
    task_ids = await submit(pipeline, principal, count, **options)
    await pipeline.forwarder.run_once()
    return task_ids


async def goes_in_the_next_batch(pipeline: Pipeline, task_id: UUID) -> bool:
    await pipeline.forwarder.run_once()
    return await pipeline.status(task_id) == "queued"


async def test_one_task_of_another_caller_goes_in_the_next_batch(pipeline: Pipeline) -> None:
    await backlog_of(pipeline)
    for _ in range(3):  # 积压还在，后来的也一样
        (single,) = await submit(pipeline, "single", 1)
        assert await goes_in_the_next_batch(pipeline, single)
    assert (await pipeline.sql("select count(*) from tb_outbox"))[0][0] == BULK + 3 - 4 * BATCH  # 批批满着


async def test_what_came_between_two_looks_goes_by_arrival_for_one_batch(pipeline: Pipeline) -> None:
    await pipeline.forwarder.run_once()
    await submit(pipeline, "first", BULK)
    await submit(pipeline, "second", BULK)
    (single,) = await submit(pipeline, "single", 1)
    assert [await goes_in_the_next_batch(pipeline, single) for _ in range(2)] == [False, True]


async def test_one_caller_of_the_api_does_not_wait_for_the_batches_of_another(small: Settings, api: Api) -> None:
    """真的接口：批量、单个、带幂等键的，各是一条路；批量与单个可以落在不同的 API 进程，提交者写在行上。"""
    item = {"type": "email:send", "to": ["a@example.com"], "subject": "s", "body": "b"}
    single = {key: item[key] for key in ("to", "subject", "body")}
    async with api.pool.connection() as connection:
        other = replace(api, token=(await tokens.create(connection, "single", SCOPES)).token)
    async with open_pipeline(small, api.pool, SELDOM) as pipeline:
        assert (await api.post("/tasks/batch", {"tasks": [item] * 1_000})).status == 202
        await pipeline.forwarder.run_once()
        replies = [
            await other.post("/tasks/email", single),
            await other.call("POST", "/tasks/email", single, {"Idempotency-Key": "k"}),
            await other.post("/tasks/email", {**single, "ordering_key": "k"}),
        ]
        await pipeline.forwarder.run_once()
        handed = {str(task_id) for task_id in await queued(pipeline)}
    assert {reply.data["task_id"] for reply in replies} <= handed


async def test_callers_with_nothing_due_take_no_turns(pipeline: Pipeline) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    for number in range(BATCH + 1):
        await submit(pipeline, f"later {number}", 1, schedule_at=soon)
    assert await pipeline.forwarder.run_once() == 0
    assert pipeline.forwarder.line.places == {}
    (single,) = await submit(pipeline, "single", 1)
    assert await goes_in_the_next_batch(pipeline, single)


async def test_a_schedule_of_thousands_does_not_hold_up_what_came_by_itself(pipeline: Pipeline) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    bulk = await submit(pipeline, "bulk", BULK, schedule_at=soon)
    assert await pipeline.forwarder.run_once() == 0  # 没到点的不走
    await pipeline.sql(DUE_NOW, bulk)  # 到点了，都在同一刻
    await pipeline.forwarder.run_once()
    (single,) = await submit(pipeline, "single", 1)
    assert await goes_in_the_next_batch(pipeline, single)
    (scheduled,) = await submit(pipeline, "other", 1, schedule_at=soon)
    assert not await goes_in_the_next_batch(pipeline, scheduled)
    await pipeline.sql(DUE_NOW, [scheduled])
    assert await goes_in_the_next_batch(pipeline, scheduled)


@pytest.mark.parametrize("outcome", [Retry("稍后", 0.0), Snooze("还有")])
async def test_a_retry_does_not_go_behind_the_bulk_of_another(pipeline: Pipeline, outcome: Any) -> None:
    (again,) = await submit(pipeline, "single", 1)
    await pipeline.forwarder.run_once()
    await backlog_of(pipeline)
    await pipeline.execution(Recorder([outcome]))({}, deliveries=[(str(again), 1)])
    await pipeline.sql(DUE_NOW, [again])
    assert await goes_in_the_next_batch(pipeline, again)


async def test_retries_of_one_caller_do_not_hold_up_the_single_task_of_another(pipeline: Pipeline) -> None:
    """重投的、重试的、补上的，都写着是谁的。"""
    bulk = await submit(pipeline, "bulk", BATCH)
    await pipeline.forwarder.run_once()
    await pipeline.execution(Recorder([Retry("稍后", 0.0)]))({}, deliveries=[(str(bulk[0]), 1)])
    await pipeline.redis.flushdb()
    await pipeline.sql("update tb_work set queued_at = clock_timestamp() - interval '1 hour' where lease_until is null")
    await pipeline.presence.run_once()
    await submit(pipeline, "bulk", 1, ordering_key="k")
    (dead,) = await submit(pipeline, "bulk", 1)
    await pipeline.sql("update tb_task set status = 'failed', finished_at = now() where id = %s", dead)
    async with pipeline.pool.connection() as connection, connection.transaction():
        await decisions.retry(connection, dead, "operator")
    rows = await pipeline.sql("select principal, count(*)::int from tb_outbox group by principal")
    assert dict(rows) == {"bulk": BATCH + 2}


async def test_two_callers_with_a_backlog_share_alike_however_late_the_second_came(pipeline: Pipeline) -> None:
    await backlog_of(pipeline, "first")
    await pipeline.forwarder.run_once()
    await submit(pipeline, "second", BULK)
    await pipeline.forwarder.run_once()
    for _ in range(3):
        assert await hand_over(pipeline) == {"first": BATCH // 2, "second": BATCH // 2}


async def test_more_callers_than_a_batch_holds_take_turns(pipeline: Pipeline) -> None:
    async with pipeline.pool.connection() as connection:
        everyone = [Submission(EMAIL_SEND, PAYLOAD, principal=f"p{one}") for one in range(3 * BATCH)]
        for _ in range(2):
            await accept_many(connection, everyone, MAX_ATTEMPTS)
    for _ in range(3):
        assert max((await hand_over(pipeline)).values()) <= 2
    while await pipeline.forwarder.run_once():
        pass
    assert await pipeline.sql("select count(*) from tb_outbox") == [(0,)]


async def test_tasks_of_one_caller_go_in_the_order_of_acceptance(pipeline: Pipeline) -> None:
    accepted = await backlog_of(pipeline, "caller", 2 * BATCH)
    accepted += await submit(pipeline, "caller", 150)
    await submit(pipeline, "other", 250)
    handed: list[UUID] = list(await queued(pipeline))
    while await pipeline.forwarder.run_once():
        now = {one for one, principal in (await queued(pipeline)).items() if principal == "caller"}.difference(handed)
        assert now == set(accepted[len(handed) : len(handed) + len(now)])
        handed += now
    assert len(handed) == len(accepted)


async def test_a_backlog_in_one_queue_leaves_the_others_alone(pipeline: Pipeline) -> None:
    for queue, count in ((Priority.DEFAULT, BULK), (Priority.LOW, 10), (Priority.CRITICAL, 10)):
        await submit(pipeline, "caller", count, queue=queue)
    await pipeline.forwarder.run_once()
    rows = await pipeline.sql("select queue, count(*)::int from vw_task where status = 'queued' group by queue")
    assert dict(rows) == {"critical": 10, "default": BATCH, "low": 10}


async def test_a_key_of_one_caller_keeps_its_order_among_the_bulk_of_another(pipeline: Pipeline) -> None:
    await backlog_of(pipeline)
    chain = await submit(pipeline, "single", 3, ordering_key="k")
    for place, task_id in enumerate(chain):
        assert await goes_in_the_next_batch(pipeline, task_id)
        assert {await pipeline.status(other) for other in chain[place + 1 :]} <= {"pending"}
        await pipeline.execution(Recorder([Done({})]))({}, deliveries=[(str(task_id), 1)])


async def test_a_restarted_relay_and_a_second_one_know_everybody_within_a_batch(
    pipeline: Pipeline, small: Settings, pool: Pool
) -> None:
    await backlog_of(pipeline)
    async with open_pipeline(small, pool, SELDOM) as other:  # 另一个 relay，什么也不记得
        await other.forwarder.run_once()
        (single,) = await submit(pipeline, "single", 1)
        assert await goes_in_the_next_batch(other, single)
        (later,) = await submit(pipeline, "single", 1)
        assert await goes_in_the_next_batch(pipeline, later)  # 头一个也照样认得
        while await other.forwarder.run_once() + await pipeline.forwarder.run_once():
            pass
    assert await pipeline.sql("select count(*) from tb_outbox") == [(0,)]


@pytest.mark.parametrize("principal", ["bulk", "single"])
async def test_what_was_committed_long_after_it_was_written_is_found_from_the_start(
    pipeline: Pipeline, principal: str
) -> None:
    """长事务里受理的、换了主库而钟慢的：比记得的位置早。从头看的那一眼（平时一秒一次）取得到。"""
    await backlog_of(pipeline)
    await pipeline.forwarder.run_once()  # 新到的也看完了
    (late,) = await submit(pipeline, principal, 1)
    long_ago = timedelta(seconds=2 * PATIENCE)
    await pipeline.sql("update tb_outbox set available_at = now() - %s where task_id = %s", long_ago, late)
    assert not await goes_in_the_next_batch(pipeline, late)
    pipeline.forwarder.line.look_at = 0.0  # 时候到了
    assert await goes_in_the_next_batch(pipeline, late)


async def test_a_hand_over_that_failed_is_made_up_for(pipeline: Pipeline, small: Settings) -> None:
    """交出的没有提交：位置不作数，从头看起。"""
    await backlog_of(pipeline, count=3 * BATCH)
    async with open_redis(small.redis, connections=1) as redis:
        await redis.config_set("maxmemory", "1")
        try:
            with pytest.raises(Exception, match="maxmemory"):
                await pipeline.forwarder.run_once()
        finally:
            await redis.config_set("maxmemory", "0")
    while await pipeline.forwarder.run_once():
        pass
    assert await pipeline.sql("select count(*) from tb_outbox") == [(0,)]
