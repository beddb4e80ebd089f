"""结算说的是实情：旧的投递不沾新的光，也许做过的不说成取消，没用完时限的不说超时。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from kaguan.config import Settings
from kaguan.database.pool import Pool
from kaguan.outbox.operate import decisions
from kaguan.outbox.vocabulary import TaskEventKind
from kaguan.outbox.work import claiming
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.fence import Token
from kaguan.outbox.work.outcome import Outcome
from kaguan.outbox.work.settlement import Again, Success, settle_again, settle_done
from kaguan.words.errors import Code, DomainError
from kaguan.words.reasons import Reason
from tests.support.pipeline import Pipeline, open_pipeline


@pytest.fixture
async def pipeline(settings: Settings, pool: Pool) -> AsyncIterator[Pipeline]:
    async with open_pipeline(settings, pool) as opened:
        yield opened


@pytest.mark.unjudged("投递号是改出来的")
async def test_two_deliveries_of_one_task_in_one_batch_are_told_apart(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    async with pipeline.pool.connection() as connection:
        old = Token(task_id, 1, uuid4())
        await claiming.claim(connection, [(old, None)], worker="worker-a", lease=15.0)
        await connection.execute("update tb_task set delivery = 2")
        successes = [
            Success(token, {"delivery": token.delivery}, None, None) for token in (old, old._replace(delivery=2))
        ]
        stale, current = await settle_done(connection, successes)
    assert stale is None
    assert current is not None
    assert (await pipeline.task(task_id)).result == {"delivery": 2}


async def test_those_that_come_again_together_are_each_written_as_its_own(pipeline: Pipeline) -> None:
    """一条语句：等名额的、再试的、要求过取消的、令牌失效的；各有各的结局、缘由与时刻，别的不受牵连。"""
    waits, fails, unwanted, stale = [(await pipeline.submit())[0] for _ in range(4)]
    await pipeline.forwarder.run_once()
    tokens = {task_id: Token(task_id, 1, uuid4()) for task_id in (waits, fails, unwanted, stale)}
    reasons = {task_id: Reason("outbox.unexpected", {"error": str(task_id)}).stored() for task_id in tokens}
    async with pipeline.pool.connection() as connection:
        await claiming.claim(connection, [(token, None) for token in tokens.values()], worker="worker-a", lease=15.0)
        async with connection.transaction():
            await decisions.cancel(connection, unwanted, "tester")

        def again(task_id: UUID, kind: TaskEventKind, delay: float, waiting_for: str | None = None) -> Again:
            return Again(tokens[task_id], kind, Jsonb(reasons[task_id]), delay, False, waiting_for, traceparent=None)

        tokens[stale] = tokens[stale]._replace(claim_id=uuid4())
        written = await settle_again(
            "worker-a",
            connection,
            [
                again(stale, TaskEventKind.ATTEMPT_FAILED, 60.0),
                again(unwanted, TaskEventKind.ATTEMPT_FAILED, 60.0),
                again(waits, TaskEventKind.INTERRUPTED, 600.0, "email:send"),
                again(fails, TaskEventKind.ATTEMPT_FAILED, 60.0),
            ],
        )
        assert [one and one.status for one in written] == [None, "cancelled", "retrying", "retrying"]
        assert await settle_again("worker-a", connection, [again(waits, TaskEventKind.INTERRUPTED, 1.0)]) == [None]
    records = {task_id: await pipeline.task(task_id) for task_id in tokens}
    assert [(one.status, one.attempt, one.delivery) for one in records.values()] == [
        ("retrying", 0, 2), ("retrying", 1, 2), ("cancelled", 1, 2), ("running", 1, 1),
    ]  # fmt: skip
    waiting = records[waits].last_error
    assert waiting is not None
    assert waiting.pop("since")
    assert waiting == reasons[waits] | {"waiting_for": "email:send"}
    assert records[fails].last_error == reasons[fails]
    assert records[stale].last_error is None
    assert records[waits].available_at > records[fails].available_at
    due = await pipeline.sql("select task_id, delivery, waiting_for from tb_outbox order by task_id")
    assert due == sorted([(waits, 2, "email:send"), (fails, 2, None)])
    noted = await pipeline.sql("select task_id, kind from tb_task_event where kind <> 'cancel_requested' order by id")
    assert sorted(noted) == sorted(
        [(waits, "interrupted"), (fails, "attempt_failed"), (unwanted, "attempt_failed"), (unwanted, "cancelled")]
    )
    assert await pipeline.sql("select status, tasks from tb_ended") == [("cancelled", 1)]


async def test_a_cancel_heard_after_the_intent_does_not_say_nothing_was_done(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()

    async def halfway(attempt: Attempt) -> Outcome:
        async with attempt.transaction() as connection:
            await attempt.declare_intent(connection)
        async with pipeline.pool.connection() as connection, connection.transaction():
            await decisions.cancel(connection, task_id, "tester")
        await execution.leases.run_once()
        attempt.checkpoint()
        raise NotImplementedError

    execution = pipeline.execution(halfway)
    await execution({}, deliveries=[(str(task_id), 1)])
    record = await pipeline.task(task_id)
    assert (record.status, record.last_error) == ("uncertain", Reason("outbox.cancelled_unknown").stored())


async def test_a_timeout_of_the_handler_itself_is_not_called_the_time_limit(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()

    async def impatient(attempt: Attempt) -> Outcome:
        raise TimeoutError(attempt.task_id)

    await pipeline.execution(impatient)({}, deliveries=[(str(task_id), 1)])
    assert (await pipeline.task(task_id)).last_error == Reason("outbox.unexpected", {"error": "TimeoutError"}).stored()


@pytest.mark.unjudged("搁置与失败是改出来的")
async def test_a_refused_cancel_leaves_the_parked_row_where_it_is(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.sql("update tb_outbox set parked_at = now(), parked_reason = '毒丸'")
    await pipeline.sql("update tb_task set status = 'failed', finished_at = now()")
    async with pipeline.pool.connection() as connection, connection.transaction():
        with pytest.raises(DomainError) as refusal:
            await decisions.cancel(connection, task_id, "tester")
    assert refusal.value.code is Code.CONFLICT
    assert await pipeline.sql("select task_id from tb_outbox where parked_at is not null") == [(task_id,)]
