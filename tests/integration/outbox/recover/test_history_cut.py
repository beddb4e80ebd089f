"""PostgreSQL 的历史断了：核对完才认领，也许做过的外部调用不再悄悄做一遍。真的切换与恢复在 tests/failover。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from api.http.translation import translate
from kaguan.cli.explaining import explain
from kaguan.config import load_settings
from kaguan.config.model import Tasks
from kaguan.database.pool import Pool
from kaguan.outbox.accept.acceptance import Submission, accept_many
from kaguan.outbox.errors import GateClosedError
from kaguan.outbox.operate import decisions, replay
from kaguan.outbox.recover import gate
from kaguan.outbox.recover.calls import Calls
from kaguan.outbox.recover.gate import Mark
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.testing import Recorder
from kaguan.outbox.vocabulary import FIRST_ID, Priority
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Discard, Done, Outcome, Retry, Uncertain
from kaguan.outbox.work.settlement import Settled
from kaguan.product.exit_codes import ExitCode
from kaguan.queues import keys
from kaguan.queues.client import build_client
from kaguan.queues.foreign import KINDS
from kaguan.sims.tasks import SIM_STATUS_SYNC, SimStatusPayload
from kaguan.words.errors import Code
from tests.support.eventually import PATIENCE, eventually
from tests.support.history import PROMOTE
from tests.support.in_hand import HOLD
from tests.support.mail_stage import RESEND
from tests.support.pipeline import MAX_ATTEMPTS, Pipeline, open_pipeline, stepped_relay
from tests.support.said import capture_logs

pytestmark = pytest.mark.unjudged("截断的历史由用例自己摆成：判它的是模型里的切换")
RESTART = "update tb_broker set incarnation = '-infinity'"  # 就像换了一次启动
FUTURE = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
async def pipeline(environ: dict[str, str], pool: Pool) -> AsyncIterator[Pipeline]:
    """认过历史的一条流水线。"""
    settings = load_settings({**environ, "KAGUAN_RELAY__PRESENCE_AGE": "0.000001"})
    async with open_pipeline(settings, pool) as opened:
        await opened.epoch.run_once()
        await opened.epoch.run_once()
        yield opened


class Calling:
    """记意向，然后停在外部调用里，直到放行。"""

    def __init__(self) -> None:
        self.called = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self, attempt: Attempt) -> Outcome:
        async with attempt.transaction() as connection:
            await attempt.declare_intent(connection)
        self.called.set()
        await self.released.wait()
        return Done({"by": "caller"})


async def reconcile(pipeline: Pipeline, types: TaskTypes | None = None) -> None:
    """另一个 relay 来核对；``types`` 是它认得的。"""
    here = pipeline
    relay = (
        here.relay
        if types is None
        else stepped_relay(here.settings, here.pool, here.redis, here.metrics, types.values())
    )
    await relay.epoch.run_once()


async def noted(pipeline: Pipeline, *tokens: tuple[UUID, int]) -> None:
    await pipeline.note(*tokens)


async def states(pipeline: Pipeline, *task_ids: UUID) -> list[tuple[str, int, bool]]:
    """（状态，投递号，有没有意向）。"""
    rows = await pipeline.sql("select id, status, delivery, intent_at is not null from vw_task")
    found = {row[0]: row[1:] for row in rows}
    return [found[task_id] for task_id in task_ids]


async def events(pipeline: Pipeline) -> list[tuple[str, str | None]]:
    return await pipeline.sql("select kind, detail ->> 'cause' from tb_task_event order by task_id, id")


async def settled(pipeline: Pipeline) -> bool:
    return await pipeline.sql("select incarnation = pg_postmaster_start_time() from tb_broker") == [(True,)]


async def test_nothing_is_claimed_handed_over_or_decided_before_the_new_start_is_looked_at(pipeline: Pipeline) -> None:
    queued, lost = await pipeline.submit(2)
    await pipeline.forwarder.run_once()
    await pipeline.sql(HOLD, "w", "-1 s", [lost])
    (waiting,) = await pipeline.submit()
    before = await states(pipeline, queued, lost, waiting)
    await pipeline.sql(RESTART)
    handler = Recorder()
    claiming = asyncio.create_task(pipeline.execution(handler)({}, deliveries=[(str(queued), 1)]))
    assert await pipeline.forwarder.run_once() == 0
    assert await pipeline.leases_redrive.run_once() == 0
    await pipeline.redis.delete(pipeline.queues[Priority.DEFAULT].namespace("incomplete"))
    await pipeline.presence.run_once()
    assert await states(pipeline, queued, lost, waiting) == before
    assert not claiming.done()
    assert handler.attempts == []
    await reconcile(pipeline)
    await claiming
    assert [attempt.task_id for attempt in handler.attempts] == [queued]
    assert await pipeline.leases_redrive.run_once() == 1


async def test_a_plain_restart_moves_nothing_and_opens_the_gate(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    await noted(pipeline, (task_id, 1))
    await pipeline.sql(RESTART)
    await reconcile(pipeline)
    assert await settled(pipeline)
    assert await states(pipeline, task_id) == [("queued", 1, False)]
    assert await events(pipeline) == []
    assert pipeline.metrics.registry.get_sample_value("kaguan_history_cuts_total") == 0


async def test_after_a_promotion_what_was_handed_over_is_delivered_anew_and_takes_effect_once(
    pipeline: Pipeline,
) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    await pipeline.sql(PROMOTE)
    await reconcile(pipeline)
    assert await settled(pipeline)
    assert await states(pipeline, task_id) == [("pending", 2, False)]
    assert await events(pipeline) == [("redriven", "history_cut")]
    value = pipeline.metrics.registry.get_sample_value
    assert (value("kaguan_history_cuts_total"), value("kaguan_claims_stopped")) == (1, 0)
    await pipeline.forwarder.run_once()
    handler = Recorder()
    for delivery in (1, 2, 2):
        await pipeline.execution(handler)({}, deliveries=[(str(task_id), delivery)])
    assert [attempt.delivery for attempt in handler.attempts] == [2]


async def test_a_call_noted_in_the_tail_is_uncertain_and_one_whose_end_is_known_is_not(pipeline: Pipeline) -> None:
    """库里各是断开那一刻的样子：排着的、等着的、重试过的、已有意向的、做完的、没记过的。"""
    queued, waiting, retried, intended, done, quiet, scheduled = await pipeline.submit(7)
    await pipeline.forwarder.run_once()
    await pipeline.sql("delete from tb_work where task_id in (%s, %s, %s)", waiting, retried, done)
    await pipeline.sql("update tb_task set status = 'retrying', delivery = 2 where id = %s", retried)
    await pipeline.sql("update tb_task set intent_at = now() where id = %s", intended)
    await pipeline.sql("update tb_task set status = 'succeeded', finished_at = now() where id = %s", done)
    await noted(pipeline, *[(task_id, 1) for task_id in (queued, waiting, retried, intended, done)], (scheduled, 3))
    await pipeline.sql(PROMOTE)
    await reconcile(pipeline)
    assert await states(pipeline, queued, waiting, retried, intended, done, quiet, scheduled) == [
        ("uncertain", 2, True),
        ("uncertain", 2, True),
        ("retrying", 2, False),
        ("uncertain", 2, True),  # 那个意向是更早的
        ("succeeded", 1, False),
        ("pending", 2, False),
        ("uncertain", 4, True),  # 记下的那一次，库里连影子都没有
    ]
    kinds = await events(pipeline)
    assert kinds.count(("uncertain", "history_cut")) == 4
    assert kinds.count(("redriven", "history_cut")) == 1
    assert await pipeline.sql("select count(*) from tb_outbox where task_id = any(%s)", [queued, waiting]) == [(0,)]
    ((error,),) = await pipeline.sql("select last_error ->> 'code' from vw_task where id = %s", queued)
    assert error == "outbox.history_cut"


async def test_where_the_policy_is_to_send_again_the_next_attempt_knows_of_the_doubt(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    await noted(pipeline, (task_id, 1))
    await pipeline.sql(PROMOTE)
    await reconcile(pipeline, RESEND)
    assert await states(pipeline, task_id) == [("pending", 2, True)]
    assert await events(pipeline) == [("resend", "history_cut")]
    assert await pipeline.forwarder.run_once() == 1
    handler = Recorder()
    await pipeline.execution(handler, types=RESEND.values())({}, deliveries=[(str(task_id), 2)])
    assert [attempt.intended for attempt in handler.attempts] == [True]


async def test_a_call_in_the_making_ends_by_itself_and_its_lost_intent_is_restored(pipeline: Pipeline) -> None:
    mended, orphaned = await pipeline.submit(2)
    await pipeline.forwarder.run_once()
    callers = [Calling(), Calling()]
    jobs = [
        asyncio.create_task(pipeline.execution(one, f"worker-{n}")({}, deliveries=[(str(task_id), 1)]))
        for n, (one, task_id) in enumerate(zip(callers, (mended, orphaned), strict=True))
    ]
    for one in callers:
        await one.called.wait()
    await pipeline.sql("update tb_task set intent_at = null")  # 意向在丢了的尾巴里
    await pipeline.sql(PROMOTE)
    await reconcile(pipeline)
    assert await states(pipeline, mended, orphaned) == [("running", 1, True)] * 2
    callers[0].released.set()
    await jobs[0]
    await pipeline.sql("update tb_work set lease_until = now() - interval '1 s' where task_id = %s", orphaned)
    await pipeline.leases_redrive.run_once()
    assert await states(pipeline, mended, orphaned) == [("succeeded", 1, False), ("uncertain", 2, True)]
    callers[1].released.set()
    await jobs[1]


async def other_type(pipeline: Pipeline) -> UUID:
    submission = Submission(SIM_STATUS_SYNC, SimStatusPayload(iccids=("89860000000000000001",)))
    async with pipeline.pool.connection() as connection:
        (outcome,) = await accept_many(connection, [submission], MAX_ATTEMPTS)
    assert not isinstance(outcome, Exception)
    return outcome.task_id


@pytest.mark.parametrize("spoil", ["flush", "trim", "stale", "stranger", keys.CALLS, keys.CALLS_TRIMMED, "garbage"])
async def test_notes_that_may_be_incomplete_put_every_due_mail_in_doubt(pipeline: Pipeline, spoil: str) -> None:
    queued, waiting = await pipeline.submit(2)
    (scheduled,) = await pipeline.submit(schedule_at=FUTURE)
    sync = await other_type(pipeline)
    await pipeline.forwarder.run_once()
    await pipeline.epoch.run_once()
    await pipeline.sql("update tb_task set status = 'pending', queued_at = null where id = %s", waiting)
    if spoil == "flush":
        await pipeline.redis.flushdb()
    elif spoil == "trim":
        await pipeline.redis.set(keys.CALLS_TRIMMED, int(datetime.now(UTC).timestamp() * 1000))
    elif spoil in KINDS:
        await pipeline.redis.delete(spoil)
        await pipeline.redis.hset(spoil, "a", "stranger's")  # type: ignore[misc] # redis-py 把同步与异步的标注混在一起
    elif spoil == "garbage":
        await pipeline.redis.set(keys.CALLS_TRIMMED, spoil)
    elif spoil == "stranger":
        await pipeline.redis.set(keys.WATERMARK, b"\xff not ours")
    else:  # Redis 退回到了旧的一份
        seal = await pipeline.seal()
        mark = Mark.read(await pipeline.redis.get(keys.WATERMARK), seal)
        assert mark is not None
        old = Mark(mark.lineage, mark.watermark - timedelta(minutes=1))
        await pipeline.redis.set(keys.WATERMARK, old.sealed(seal))
    await pipeline.sql(PROMOTE)
    await reconcile(pipeline)
    assert await states(pipeline, queued, waiting, scheduled, sync) == [
        ("uncertain", 2, True),
        ("uncertain", 2, True),
        ("pending", 1, False),
        ("pending", 2, False),
    ]
    # 死在半途的从头再来：已定的不再定一遍
    before = await events(pipeline)
    await pipeline.sql(PROMOTE)
    await reconcile(pipeline)
    assert await events(pipeline) == before


async def test_a_database_set_back_on_the_same_timeline_is_behind_the_watermark(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    await pipeline.epoch.run_once()
    await noted(pipeline, (task_id, 1))
    await pipeline.sql(
        "update tb_broker set since = since - interval '1 hour', forwarded_at = forwarded_at - interval '1 hour'"
    )
    for _ in range(3):  # 此后没有再交出什么：也只断了一次
        await reconcile(pipeline)
        assert await settled(pipeline)
        assert await states(pipeline, task_id) == [("uncertain", 2, True)]
        assert pipeline.metrics.registry.get_sample_value("kaguan_history_cuts_total") == 1


async def test_a_watermark_that_nobody_of_ours_wrote_is_replaced_and_said(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    for stranger in (b"\xff", b"x y", f"{uuid4()} 2999-01-01T00:00:00+00:00".encode(), b"1 2999-01-01"):
        await pipeline.redis.set(keys.WATERMARK, stranger)
        with capture_logs() as logs:
            await pipeline.epoch.run_once()
        assert [one["key"] for one in logs if one["log_level"] == "warning"] == [keys.WATERMARK]
        assert Mark.read(await pipeline.redis.get(keys.WATERMARK), await pipeline.seal()) is not None
    assert await states(pipeline, task_id) == [("queued", 1, False)]


async def test_a_reconciliation_stopped_halfway_leaves_the_gate_shut_and_the_next_goes_on(pipeline: Pipeline) -> None:
    task_ids = await pipeline.submit(3)
    await pipeline.forwarder.run_once()
    await pipeline.sql(PROMOTE)
    async with pipeline.pool.connection() as connection, connection.transaction():
        await connection.execute("select from tb_task where id = %s for update", (task_ids[0],))
        with pytest.raises(TimeoutError):
            await reconcile(pipeline)
        assert not await settled(pipeline)
        assert await states(pipeline, *task_ids) == [("queued", 1, False)] + [("pending", 2, False)] * 2
        assert await pipeline.forwarder.run_once() == 0
    await reconcile(pipeline)
    assert await settled(pipeline)
    assert await states(pipeline, *task_ids) == [("pending", 2, False)] * 3


async def test_two_relays_reconcile_together_and_each_task_once(pipeline: Pipeline) -> None:
    task_ids = await pipeline.submit(6)
    await pipeline.forwarder.run_once()
    await noted(pipeline, *[(task_id, 1) for task_id in task_ids[:3]])
    await pipeline.sql(PROMOTE)

    async def both() -> bool:
        await asyncio.gather(*[reconcile(pipeline, RESEND) for _ in range(2)])
        return await settled(pipeline)

    await eventually(both)
    assert await states(pipeline, *task_ids) == [("pending", 2, True)] * 3 + [("pending", 2, False)] * 3
    assert pipeline.metrics.registry.get_sample_value("kaguan_history_cuts_total") == 1


async def test_without_redis_no_call_is_made_and_the_attempt_is_given_back_uncounted(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    nowhere = pipeline.settings.redis.model_copy(update={"url": SecretStr("redis://127.0.0.1:1/0")})
    away = replace(pipeline, redis=build_client(nowhere))
    await away.execution(caller := Calling())({}, deliveries=[(str(task_id), 1)])
    assert not caller.called.is_set()
    assert await pipeline.sql("select status, attempt, intent_at from vw_task") == [("retrying", 0, None)]
    assert await events(pipeline) == [("interrupted", None)]


async def test_calls_are_kept_for_a_while_and_up_to_a_number_and_what_was_let_go_is_known(pipeline: Pipeline) -> None:
    seal, few = await pipeline.seal(), Tasks(calls_kept=1_000)
    task_ids = [uuid4() for _ in range(1_005)]
    for number, task_id in enumerate(task_ids[:1_000]):
        member = seal.put(keys.CALLS, keys.delivery_key(task_id, 1))
        await pipeline.redis.zadd(keys.CALLS, {member: number + 1_900_000_000_000})
    assert await Calls(pipeline.redis, few).trimmed() is None
    await pipeline.redis.zadd(keys.CALLS, {"nonsense": 1_899_999_999_999})
    calls = await pipeline.note((task_ids[-1], 1), tasks=few)
    kept = [token async for page in calls.pages(seal) for token in page]
    assert len(kept) <= 1_000
    assert (await calls.trimmed() or 0) > 0
    await pipeline.redis.delete(keys.CALLS, keys.CALLS_TRIMMED)
    await pipeline.redis.zadd(keys.CALLS, {seal.put(keys.CALLS, keys.delivery_key(task_ids[0], 1)): 1})
    old = await pipeline.note((task_ids[1], 4), tasks=Tasks(calls_kept_for=1.0))
    assert [page async for page in old.pages(seal)] == [[(task_ids[1], 4)]]


async def test_a_failed_attempt_that_is_known_leaves_no_doubt_behind(pipeline: Pipeline) -> None:
    """记过、而结局 PostgreSQL 也记得：同步的切换一个也没丢，谁也不因此不明。"""
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()

    async def deferred(attempt: Attempt) -> Outcome:
        async with attempt.transaction() as connection:
            await attempt.declare_intent(connection)
        return Retry("450")

    await pipeline.execution(deferred)({}, deliveries=[(str(task_id), 1)])
    assert await states(pipeline, task_id) == [("retrying", 2, False)]
    await pipeline.sql(PROMOTE)
    await reconcile(pipeline)
    assert await states(pipeline, task_id) == [("retrying", 2, False)]


BY_POLICY = pytest.mark.parametrize(
    ("types", "status", "kind"),
    [(None, "uncertain", "uncertain"), (RESEND, "pending", "resend")],
    ids=["hold", "resend"],
)


class Waking:
    """停在外部调用之前，直到放行；记下意向才算去做了。"""

    def __init__(self, outcome: Outcome | None = None) -> None:
        self.outcome = outcome or Done()
        self.attempts: list[Attempt] = []
        self.released = asyncio.Event()
        self.calls = 0

    async def __call__(self, attempt: Attempt) -> Outcome:
        self.attempts.append(attempt)
        await self.released.wait()
        async with attempt.transaction() as connection:
            await attempt.declare_intent(connection)
        self.calls += 1
        return self.outcome


@BY_POLICY
async def test_a_waiting_mail_gets_a_mark_whatever_its_intent_says_and_one_for_each_note(
    pipeline: Pipeline, types: TaskTypes | None, status: str, kind: str
) -> None:
    """已有的意向是更早的那次的，决定过再来；忘了的那段里又做了一次，先前那段等待也就过去了。"""
    (task_id,) = await pipeline.submit()
    await pipeline.sql('update tb_task set delivery = 2, intent_at = now(), last_error = \'{"waiting_for": "smtp"}\'')
    await pipeline.sql("update tb_outbox set delivery = 2")
    await noted(pipeline, (task_id, 2))
    for _ in range(2):
        await pipeline.sql(PROMOTE)
        await reconcile(pipeline, types)
        assert await states(pipeline, task_id) == [(status, 3, True)]
    assert await events(pipeline) == [(kind, "history_cut")]
    assert await pipeline.sql("select delivery from tb_outbox") == ([] if types is None else [(3,)])
    assert await pipeline.sql("select last_error ? 'waiting_for' from vw_task") == [(False,)]


@BY_POLICY
async def test_a_holder_that_was_succeeded_in_the_tail_is_relieved_and_the_mail_is_in_doubt(
    pipeline: Pipeline, types: TaskTypes | None, status: str, kind: str
) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    holder = Waking()
    job = asyncio.create_task(pipeline.execution(holder)({}, deliveries=[(str(task_id), 1)]))
    await eventually(lambda: holder.attempts)
    await noted(pipeline, (task_id, 2))  # 租约到期之后的继任者，连同它的认领都在尾巴里
    await pipeline.sql(PROMOTE)
    await reconcile(pipeline, types)
    assert await states(pipeline, task_id) == [(status, 3, True)]
    holder.released.set()
    await job
    assert holder.calls == 0
    assert await states(pipeline, task_id) == [(status, 3, True)]
    assert await events(pipeline) == [(kind, "history_cut"), ("fenced", None)]
    again = Recorder()
    await pipeline.forwarder.run_once()
    await pipeline.execution(again, types=RESEND.values())({}, deliveries=[(str(task_id), 3)])
    assert [(attempt.attempt, attempt.intended) for attempt in again.attempts] == ([] if types is None else [(1, True)])


async def test_without_trusted_notes_nobody_knows_whether_a_holder_was_succeeded(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    holder = Waking()
    job = asyncio.create_task(pipeline.execution(holder)({}, deliveries=[(str(task_id), 1)]))
    await eventually(lambda: holder.attempts)
    await pipeline.redis.flushdb()
    await pipeline.sql(PROMOTE)
    await reconcile(pipeline)
    holder.released.set()
    await job
    assert (holder.calls, (await states(pipeline, task_id))[0][0]) == (0, "uncertain")


async def test_every_task_without_an_outcome_is_looked_at_wherever_it_waits(pipeline: Pipeline) -> None:
    """别的类型占满了几页，也照样看到后面的：在发件箱里的、手里的、排在同键之后的。"""
    others = await pipeline.submit(5)
    await pipeline.sql("update tb_task set type = 'data:sync' where id = any(%s)", others)
    staged, held = await pipeline.submit(2)
    await pipeline.sql(HOLD, "w", "12 s", [held])
    await pipeline.sql("delete from tb_outbox where task_id = %s", held)
    head, behind = await pipeline.submit(2, ordering_key="k")
    found: list[tuple[UUID, int]] = []
    after: UUID | None = FIRST_ID
    async with pipeline.pool.connection() as connection:
        while after is not None:
            page, after = await gate.doubtful_due(connection, ["email:send"], datetime.now(UTC), after, 2)
            found += page
    assert found == [(staged, 1), (held, 2), (head, 1), (behind, 1)]


async def held_back(logs: list[dict[str, Any]], count: int) -> None:
    """``count`` 个结算等着核对。"""
    await eventually(lambda: [one["event"] for one in logs].count("结算没写成，重试") >= count)


async def test_what_a_holder_writes_waits_for_the_reconciliation_and_its_lease_is_not_lost(pipeline: Pipeline) -> None:
    outcomes: tuple[Outcome, ...] = (Done(), Retry("450"), Discard("550"), Uncertain("断了"))
    task_ids = await pipeline.submit(len(outcomes))
    await pipeline.forwarder.run_once()
    execution = pipeline.execution(holder := Waking())
    job = asyncio.create_task(execution({}, deliveries=[(str(task_id), 1) for task_id in task_ids]))
    await eventually(lambda: len(holder.attempts) == len(outcomes))
    await pipeline.sql(PROMOTE)
    attempts = sorted(holder.attempts, key=lambda attempt: task_ids.index(attempt.task_id))
    with capture_logs() as logs:
        settling = [
            asyncio.create_task(execution.settlement.settle(attempt, outcome))
            for attempt, outcome in zip(attempts, outcomes, strict=True)
        ]
        await held_back(logs, len(outcomes))
    await execution.leases.run_once()
    assert not any(attempt.lost.is_set() for attempt in attempts)
    with pytest.raises(GateClosedError):
        async with attempts[0].transaction():
            raise NotImplementedError
    async with pipeline.pool.connection() as connection:
        with pytest.raises(GateClosedError):
            await attempts[0].declare_intent(connection)
    assert await states(pipeline, *task_ids) == [("running", 1, False)] * len(outcomes)
    await reconcile(pipeline)
    assert [type(one) for one in await asyncio.gather(*settling)] == [Settled] * len(outcomes)
    assert [one[:2] for one in await states(pipeline, *task_ids)] == [
        ("succeeded", 1),
        ("retrying", 2),
        ("failed", 1),
        ("uncertain", 1),
    ]
    holder.released.set()
    await job
    assert holder.calls == 0


async def test_a_holder_that_wakes_before_the_reconciliation_makes_no_call_and_loses_no_attempt(
    pipeline: Pipeline,
) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    holder = Waking()
    job = asyncio.create_task(pipeline.execution(holder)({}, deliveries=[(str(task_id), 1)]))
    await eventually(lambda: holder.attempts)
    await pipeline.sql(RESTART)
    with capture_logs() as logs:
        holder.released.set()
        await held_back(logs, 1)
    await reconcile(pipeline)
    await job
    assert holder.calls == 0
    assert await pipeline.sql("select status, attempt, intent_at from vw_task") == [("retrying", 0, None)]


async def test_what_a_person_asks_for_before_the_reconciliation_is_answered_as_if_the_database_were_away(
    pipeline: Pipeline,
) -> None:
    waiting, failed = await pipeline.submit(2)
    await pipeline.sql("update tb_task set status = 'failed', finished_at = now() where id = %s", failed)
    before = await states(pipeline, waiting, failed)
    await pipeline.sql(RESTART)
    async with pipeline.pool.connection() as connection, connection.transaction():
        for asked in (
            decisions.cancel(connection, waiting, "ops"),
            decisions.retry(connection, failed, "ops"),
            replay.run(connection, replay.Replay(), "ops"),
        ):
            with pytest.raises(GateClosedError) as refused:
                await asked
            assert translate(refused.value).error.code is Code.DATABASE_UNAVAILABLE
            told = explain(refused.value)
            assert told is not None
            assert told[1] is ExitCode.DEPENDENCY
        assert await states(pipeline, waiting, failed) == before
        await reconcile(pipeline)
        assert await decisions.cancel(connection, waiting, "ops") == "cancelled"
        assert await decisions.retry(connection, failed, "ops") == "pending"


async def test_an_ended_mail_that_a_person_revived_in_the_tail_is_in_doubt_and_one_that_ended_there_is_not(
    pipeline: Pipeline,
) -> None:
    failed, unknown, known = await pipeline.submit(3)
    await pipeline.forwarder.run_once()
    await pipeline.sql("delete from tb_work")
    await pipeline.sql("update tb_task set status = 'uncertain', intent_at = now()")
    await pipeline.sql(
        "update tb_task set status = 'failed', intent_at = null, finished_at = now() where id <> %s", unknown
    )
    await noted(pipeline, (failed, 1), (failed, 2), (unknown, 2), (known, 1))
    for _ in range(2):
        await pipeline.sql(PROMOTE)
        await reconcile(pipeline, RESEND)
        assert await states(pipeline, failed, unknown, known) == [
            ("uncertain", 3, True),
            ("uncertain", 3, True),
            ("failed", 1, False),
        ]
    assert await events(pipeline) == [("uncertain", "history_cut")] * 2


async def test_a_doubt_that_waited_for_a_claim_leaves_the_holder_its_lease(pipeline: Pipeline) -> None:
    """等锁的工夫里认领了的：意向记在持有者的名下，租约不动。"""
    (task_id,) = await pipeline.submit()

    async def doubt() -> list[str]:
        async with pipeline.pool.connection() as connection, connection.transaction():
            return [one.verdict for one in await gate.doubt(connection, [(task_id, 1)], {})]

    async with pipeline.pool.connection() as holder:
        async with holder.transaction():
            await holder.execute(HOLD, ("w", "1 min", [task_id]))
            doubting = asyncio.create_task(doubt())
            await eventually(pipeline.is_waiting_for_a_lock)
        assert await asyncio.wait_for(doubting, PATIENCE) == ["running"]
    assert await pipeline.sql("select worker, lease_until is not null, intent_at is not null from vw_task") == [
        ("w", True, True)
    ]
