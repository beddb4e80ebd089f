"""按键有序：同键的一个接一个，按受理的次序；不同的键并行；谁死了、谁被取消，后面的都不卡住（FAULTS.md 37）。"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from psycopg.errors import LockNotAvailable

from api.http.backlog import Backlog
from kaguan.config import load_settings
from kaguan.config.model import Tasks
from kaguan.database.pool import Pool
from kaguan.database.sql import load
from kaguan.flow.background import in_background
from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox import loop
from kaguan.outbox.accept import acceptance as service
from kaguan.outbox.accept.acceptance import GroupAccept
from kaguan.outbox.accept.doorbell import listen
from kaguan.outbox.errors import TaskStatusError
from kaguan.outbox.operate import decisions
from kaguan.outbox.operate.place import place_of
from kaguan.outbox.operate.retention import Retention
from kaguan.outbox.order import ordering
from kaguan.outbox.order.release import OrderingRelease
from kaguan.outbox.task_type import KeyPolicy
from kaguan.outbox.testing import Recorder
from kaguan.outbox.vocabulary import SUSPECT, Priority
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Discard, Done, Outcome, Retry, Uncertain
from kaguan.words.errors import Code, DomainError
from tests.support.eventually import eventually
from tests.support.in_hand import HOLD
from tests.support.pipeline import MAX_ATTEMPTS, Pipeline, open_pipeline

MAIL = EmailPayload(to=("a@example.com",), subject="s", body="b")


@pytest.fixture
async def pipeline(environ: dict[str, str], pool: Pool) -> AsyncIterator[Pipeline]:
    settings = load_settings({**environ, "KAGUAN_RELAY__PRESENCE_AGE": "0.000001"})
    async with open_pipeline(settings, pool) as opened:
        yield opened


async def deliver(pipeline: Pipeline, outcome: Outcome | None = None) -> list[UUID]:
    """转交一次，执行交出的；返回执行了谁，按次序。"""
    await pipeline.forwarder.run_once()
    handler = Recorder([*([outcome] if outcome else [])])
    execution = pipeline.execution(handler)
    for job in await pipeline.jobs():
        await execution({}, **job.kwargs or {})
    await pipeline.redis.flushdb()
    return [attempt.task_id for attempt in handler.attempts]


async def staged(pipeline: Pipeline) -> list[UUID]:
    return [row[0] for row in await pipeline.sql("select task_id from tb_outbox order by task_id")]


async def test_tasks_of_a_key_run_one_after_another_in_the_order_of_acceptance(pipeline: Pipeline) -> None:
    tasks = [*await pipeline.submit(3, ordering_key="order:7"), *await pipeline.submit(1, ordering_key="order:7")]
    ran = [await deliver(pipeline) for _ in range(4)]
    assert ran == [[task] for task in tasks]
    assert await staged(pipeline) == []


async def test_keys_do_not_wait_for_each_other_nor_for_tasks_without_one(pipeline: Pipeline) -> None:
    one = await pipeline.submit(2, ordering_key="a")
    other = await pipeline.submit(2, ordering_key="b")
    free = await pipeline.submit(2)
    elsewhere = await pipeline.submit(1, ordering_key="a", principal="another")
    assert await staged(pipeline) == sorted([one[0], other[0], *free, *elsewhere])


@pytest.mark.unjudged("处理器没记意向就说不明")
@pytest.mark.parametrize("outcome", [Discard("不行"), Uncertain("不明"), Done()], ids=["failed", "uncertain", "done"])
async def test_any_end_of_the_first_releases_the_second(pipeline: Pipeline, outcome: Outcome) -> None:
    first, second = await pipeline.submit(2, ordering_key="k")
    assert await deliver(pipeline, outcome) == [first]
    assert await deliver(pipeline) == [second]


async def test_a_retry_of_the_first_comes_before_the_second(pipeline: Pipeline) -> None:
    first, second = await pipeline.submit(2, ordering_key="k")
    assert await deliver(pipeline, Retry("再来")) == [first]
    await pipeline.sql("update tb_outbox set available_at = clock_timestamp()")
    assert await deliver(pipeline) == [first]
    assert await deliver(pipeline) == [second]


async def held(pipeline: Pipeline, count: int) -> list[UUID]:
    """同一个键、失败了就拦着后面的几个。"""
    submissions = [service.Submission(replace(EMAIL_SEND, key_policy=KeyPolicy.HOLD), MAIL, ordering_key="k")] * count
    async with pipeline.pool.connection() as connection:
        outcomes = await service.accept_many(connection, submissions, MAX_ATTEMPTS)
    return [outcome.task_id for outcome in outcomes if isinstance(outcome, service.Accepted)]


async def decide(pipeline: Pipeline, what: Callable[..., Awaitable[object]], task_id: UUID) -> None:
    async with pipeline.pool.connection() as connection, connection.transaction():
        await what(connection, task_id, "ops")


@pytest.mark.unjudged("处理器没记意向就说不明")
@pytest.mark.parametrize("outcome", [Discard("不行"), Uncertain("不明")], ids=["failed", "uncertain"])
@pytest.mark.parametrize("decision", ["retried", "cancelled"])
async def test_a_head_that_holds_lets_nobody_go_until_a_person_decides(
    pipeline: Pipeline, outcome: Outcome, decision: str
) -> None:
    first, second, third = await held(pipeline, 3)
    assert await deliver(pipeline, outcome) == [first]
    relay = OrderingRelease(pipeline.pool)
    assert (await relay.run_once(), await deliver(pipeline)) == (0, [])
    async with pipeline.pool.connection() as connection:
        blocked = await place_of(connection, await pipeline.task(second))
        leading = await place_of(connection, await pipeline.task(first))
    assert blocked is not None
    assert blocked.blocked_by is not None
    assert (blocked.position, blocked.blocked_by.task_id) == (2, first)
    assert leading is not None
    assert (leading.position, leading.behind) == (1, [second, third])
    if decision == "retried":
        await decide(pipeline, decisions.retry, first)
        assert await deliver(pipeline) == [first]
    else:
        await decide(pipeline, decisions.cancel, first)
        assert await pipeline.status(first) == "cancelled"
    assert await deliver(pipeline) == [second]
    assert await deliver(pipeline) == [third]


async def test_what_failed_and_holds_nobody_up_cannot_be_cancelled(pipeline: Pipeline) -> None:
    first, _ = await pipeline.submit(2, ordering_key="k")
    assert await deliver(pipeline, Discard("不行")) == [first]
    with pytest.raises(TaskStatusError):
        await decide(pipeline, decisions.cancel, first)
    assert await pipeline.status(first) == "failed"


async def test_a_head_that_holds_does_not_expire(pipeline: Pipeline) -> None:
    first, second = await held(pipeline, 2)
    assert await deliver(pipeline, Discard("不行")) == [first]
    await pipeline.sql("update tb_task set finished_at = finished_at - interval '400 days' where id = %s", first)
    retention = Retention(pipeline.pool, Tasks(retention_days=1), (), {}, period=0.0)
    await retention.run_once()
    assert await pipeline.status(first) == "failed"
    await decide(pipeline, decisions.cancel, first)
    assert await deliver(pipeline) == [second]


@pytest.mark.unjudged("结局是改出来的，当作放行之前死了")
async def test_the_relay_releases_after_whoever_died_between_the_end_and_the_release(pipeline: Pipeline) -> None:
    first, second, third = await pipeline.submit(3, ordering_key="k")
    relay = OrderingRelease(pipeline.pool)
    await pipeline.sql("delete from tb_outbox")
    await pipeline.sql("update tb_task set status = 'cancelled', finished_at = clock_timestamp() where id = %s", first)
    assert await relay.run_once() == 1
    assert await staged(pipeline) == [second]
    # 结算提交了，放行之前死去
    await pipeline.forwarder.run_once()
    await pipeline.sql("update tb_task set status = 'succeeded', finished_at = clock_timestamp() where id = %s", second)
    assert await relay.run_once() == 1
    assert await staged(pipeline) == [third]
    assert await relay.run_once() == 0


@pytest.mark.parametrize("handed_over", [False, True])
async def test_cancelling_the_first_releases_the_second_at_once(pipeline: Pipeline, *, handed_over: bool) -> None:
    first, second, third = await pipeline.submit(3, ordering_key="k")
    if handed_over:
        await pipeline.forwarder.run_once()
    async with pipeline.pool.connection() as connection, connection.transaction():
        await decisions.cancel(connection, first, "ops")
    assert await staged(pipeline) == [second]
    async with pipeline.pool.connection() as connection, connection.transaction():
        await decisions.cancel(connection, third, "ops")
    assert await staged(pipeline) == [second]


async def test_cancelling_a_running_task_releases_nobody_yet(pipeline: Pipeline) -> None:
    first, _ = await pipeline.submit(2, ordering_key="k")
    await pipeline.forwarder.run_once()
    await pipeline.sql(HOLD, "w", "0", [first])
    async with pipeline.pool.connection() as connection, connection.transaction():
        assert await decisions.cancel(connection, first, "ops") == "running"
    assert await staged(pipeline) == []


@pytest.mark.unjudged("在跑是改出来的")
@pytest.mark.parametrize(
    ("state", "verdict"),
    [("intent_at = now()", "uncertain"), ("cancel_requested_at = now()", "cancelled"), ("lost_leases = 99", "failed")],
)
async def test_a_lost_lease_that_ends_the_first_releases_the_second_at_once(
    pipeline: Pipeline, state: str, verdict: str
) -> None:
    first, second = await pipeline.submit(2, ordering_key="k")
    await pipeline.forwarder.run_once()
    await pipeline.sql(HOLD, "w", "-1 s", [first])
    await pipeline.sql(f"update tb_task set {state} where id = %s", first)
    assert await pipeline.leases_redrive.run_once() == 1  # 因此转交随即被唤醒
    assert await pipeline.status(first) == verdict
    assert await staged(pipeline) == [second]


async def test_a_delivery_from_a_lost_history_does_not_overtake_the_head(pipeline: Pipeline) -> None:
    # 忘了的那段里轮到过它：投递还在 Redis 里，号也对，行却又等着前一个
    first, second, free = [*await pipeline.submit(2, ordering_key="k"), *await pipeline.submit(1)]
    await pipeline.forwarder.run_once()
    execution = pipeline.execution(handler := Recorder())
    await execution({}, deliveries=[(str(second), 1), (str(free), 1)])
    assert [attempt.task_id for attempt in handler.attempts] == [free]
    assert await pipeline.status(second) == "pending"
    assert await deliver(pipeline) == [first]
    assert await deliver(pipeline) == [second]


async def test_one_that_a_person_revived_runs_though_it_is_not_the_head(pipeline: Pipeline) -> None:
    first, _ = await pipeline.submit(2, ordering_key="k")
    assert await deliver(pipeline, Discard("不行")) == [first]
    async with pipeline.pool.connection() as connection, connection.transaction():
        await decisions.retry(connection, first, "ops")
    handler = Recorder()
    await pipeline.execution(handler)({}, deliveries=[(str(first), 2)])  # 抢在 relay 记下之前
    assert [attempt.task_id for attempt in handler.attempts] == [first]


async def test_a_cancelled_waiter_is_passed_over(pipeline: Pipeline) -> None:
    first, second, third = await pipeline.submit(3, ordering_key="k")
    async with pipeline.pool.connection() as connection, connection.transaction():
        await decisions.cancel(connection, second, "ops")
    assert await deliver(pipeline) == [first]
    assert await deliver(pipeline) == [third]


async def test_waiters_are_not_taken_for_orphans_but_a_lost_head_is(pipeline: Pipeline) -> None:
    first, second = await pipeline.submit(2, ordering_key="k")
    await pipeline.sql("update tb_task set available_at = available_at - interval '1 hour'")
    assert await pipeline.orphans.run_once() == 0
    await pipeline.sql("delete from tb_outbox")
    await pipeline.orphans.run_once()
    assert await staged(pipeline) == [first]
    assert await deliver(pipeline) == [first]
    assert await deliver(pipeline) == [second]


async def test_everything_of_a_key_survives_a_flush_in_order(pipeline: Pipeline) -> None:
    tasks = await pipeline.submit(3, ordering_key="k")
    ran: list[UUID] = []
    assert await pipeline.epoch.run_once() == 0
    for _ in tasks:
        await pipeline.forwarder.run_once()
        await pipeline.redis.flushdb()
        await pipeline.epoch.run_once()
        ran += await deliver(pipeline)
    assert ran == tasks


async def test_the_same_request_twice_is_one_place_in_the_line(pipeline: Pipeline) -> None:
    async def submit(key: str) -> service.Accepted:
        submission = service.Submission(EMAIL_SEND, MAIL, request_id="r", ordering_key=key)
        async with pipeline.pool.connection() as connection:
            return await service.accept_one(connection, submission, MAX_ATTEMPTS)

    first, again = await submit("k"), await submit("k")
    assert (again.task_id, again.replayed) == (first.task_id, True)
    with pytest.raises(DomainError) as refused:
        await submit("other")
    assert refused.value.code is Code.IDEMPOTENCY_KEY_REUSED
    assert await pipeline.sql("select head from tb_ordering where key = 'k'") == [(first.task_id,)]
    assert await pipeline.sql("select count(*)::int from tb_task where ordering_key = 'k'") == [(1,)]


async def test_concurrent_submissions_and_parallel_workers_keep_every_key_in_order(pipeline: Pipeline) -> None:
    keys, per_key = [f"k{n}" for n in range(8)], 12
    running: set[str] = set()
    ran: defaultdict[str, list[UUID]] = defaultdict(list)
    overlaps = 0

    async def handler(attempt: Attempt) -> Outcome:
        nonlocal overlaps
        ((key,),) = await pipeline.sql("select ordering_key from vw_task where id = %s", attempt.task_id)
        overlaps += key in running
        running.add(key)
        ran[key].append(attempt.task_id)
        await asyncio.sleep(0)
        running.discard(key)
        return Done()

    async def stream(folded: GroupAccept, key: str) -> None:
        for _ in range(per_key):
            await folded.accept(service.Submission(EMAIL_SEND, MAIL, Priority.CRITICAL, ordering_key=key))

    stop = asyncio.Event()  # 不靠取消：落在等应答的那一下会被吞掉

    async def forwarding() -> None:
        while not stop.is_set():
            if await pipeline.forwarder.run_once() + await OrderingRelease(pipeline.pool).run_once() == 0:
                await asyncio.sleep(0.01)

    async def all_done() -> bool:
        return bool((await pipeline.sql("select count(*) = 96 from vw_task where status = 'succeeded'"))[0][0])

    folded = GroupAccept(pipeline.pool, MAX_ATTEMPTS)
    async with pipeline.working(handler):
        relay = asyncio.create_task(forwarding())
        await asyncio.gather(*(stream(folded, key) for key in keys))
        await eventually(all_done)
        stop.set()
        await relay
    expected = await pipeline.sql("select ordering_key, id from vw_task order by ordering_seq")
    assert overlaps == 0
    assert ran == {key: [task for owner, task in expected if owner == key] for key in keys}


async def test_a_chain_of_a_key_does_not_wait_for_polls(pipeline: Pipeline) -> None:
    """放行之后按铃：轮询 30 秒一次，二十个一个接一个也很快做完。"""
    heard, stop = asyncio.Event(), asyncio.Event()
    await pipeline.submit(20, ordering_key="k")

    async def all_done() -> bool:
        return await pipeline.sql("select count(*) from vw_task where status = 'succeeded'") == [(20,)]

    worker = pipeline.worker(Recorder())
    async with worker.at_work(), in_background(listen(pipeline.redis, heard.set), "listener"):
        tasks = [
            asyncio.create_task(
                loop.run("forward", pipeline.forwarder.run_once, interval=30.0, backoff_max=1.0, stop=stop, wake=heard)
            ),
            asyncio.create_task(worker.consumer().run(stop)),
        ]
        await eventually(all_done)
        stop.set()
        await asyncio.gather(*tasks)


async def test_those_that_wait_behind_a_stuck_head_are_seen_and_count_as_backlog(pipeline: Pipeline) -> None:
    await pipeline.submit(10, ordering_key="k")
    await pipeline.forwarder.run_once()  # 队头交出去了，没人做完它
    backlog = Backlog(pipeline.pool, limit=5)
    assert await backlog.run_once() > 5
    with pytest.raises(DomainError) as refused:
        backlog.check()
    assert refused.value.code is Code.OVERLOADED
    await pipeline.relay.loops["backlog"].run_once()
    async with pipeline.pool.connection() as connection:
        assert await ordering.waiting(connection, 100) == 9
    sample = pipeline.metrics.registry.get_sample_value("kaguan_tasks_unsettled", {"status": "ordered"})
    assert sample == 9


async def five_ended_heads(pipeline: Pipeline) -> None:
    for number in range(5):
        await pipeline.submit(2, ordering_key=f"k{number}")
    await pipeline.sql(
        "update tb_task set status = 'succeeded', finished_at = now() where id in (select head from tb_ordering)"
    )


@pytest.mark.usefixtures("brief_locks")
async def test_the_outbox_counts_as_backlog_though_those_that_wait_behind_a_key_cannot_be_counted(
    pipeline: Pipeline,
) -> None:
    await pipeline.submit(3, ordering_key="k")
    backlog = Backlog(pipeline.pool, limit=5)
    assert await backlog.run_once() == 3
    await pipeline.submit(4)
    async with pipeline.pool.connection() as other, other.transaction():
        await other.execute("lock table tb_task in access exclusive mode")
        with pytest.raises(LockNotAvailable):
            await backlog.run_once()
    assert backlog.rows == 7  # 发件箱里的五个，与上一次数到的两个
    with pytest.raises(DomainError):
        backlog.check()


async def test_those_behind_a_key_are_not_counted_when_the_outbox_alone_is_over_the_limit(pipeline: Pipeline) -> None:
    await pipeline.submit(6)
    backlog = Backlog(pipeline.pool, limit=5)
    async with pipeline.pool.connection() as other, other.transaction():
        await other.execute("lock table tb_task in access exclusive mode")
        assert await backlog.run_once() == 6


@pytest.mark.unjudged("结局是改出来的，当作放行之前死了")
async def test_the_relay_looks_at_as_many_pages_at_a_time_as_its_budget_allows(pipeline: Pipeline) -> None:
    await five_ended_heads(pipeline)
    assert await OrderingRelease(pipeline.pool, page=2, budget=30.0).run_once() == 5


@pytest.mark.unjudged("结局是改出来的，当作放行之前死了")
async def test_the_relay_looks_at_one_page_of_heads_at_a_time_and_at_all_of_them_in_turn(
    pipeline: Pipeline,
) -> None:
    await five_ended_heads(pipeline)
    relay = OrderingRelease(pipeline.pool, page=2, budget=0.0)
    released = [await relay.run_once() for _ in range(10)]
    assert max(released) <= 2
    assert sum(released) == 5


async def test_a_page_of_heads_is_read_from_its_index(pipeline: Pipeline) -> None:
    await pipeline.sql(
        "insert into tb_ordering (principal, key, last_seq) select 'p', n::text, 0 from generate_series(1, 20000) as n"
    )
    await pipeline.sql("update tb_ordering set head = gen_random_uuid() where key::int %% 2 = 0")
    await pipeline.sql("analyze tb_ordering")
    statements = (
        ("heads", {"after": UUID(int=0), "limit": 100}),
        ("vacate", {"heads": [UUID(int=n) for n in range(3)]}),
    )
    for name, parameters in statements:
        async with pipeline.pool.connection() as connection:
            cursor = await connection.execute(b"explain " + load("kaguan.outbox.order", name).encode(), parameters)
            plan = "\n".join(row[0] for row in await cursor.fetchall())
        assert "uq_tb_ordering_head" in plan, plan
        assert "Seq Scan on tb_ordering" not in plan, plan


@pytest.mark.unjudged("两万行发件箱没有任务")
async def test_whether_it_was_handed_over_is_looked_up_by_number(pipeline: Pipeline) -> None:
    (noted, waiter), (fresh,) = await pipeline.submit(2, ordering_key="k"), await pipeline.submit()
    await pipeline.forwarder.run_once()
    await pipeline.sql("delete from tb_work where task_id = %s", fresh)
    await pipeline.sql(
        "insert into tb_outbox (task_id, delivery, type, priority, principal)"
        " select gen_random_uuid(), 1, 'a:b', 1, 'p'"
        " from generate_series(1, 20000)"
    )
    await pipeline.sql("analyze tb_outbox")
    looked_up = {}
    for task_id in (noted, waiter, fresh):
        parameters = {
            "task_ids": [task_id],
            "deliveries": [1],
            "claim_ids": [uuid4()],
            "handed_ats": [None],
            "worker": "w",
            "lease": 15.0,
            "room": True,
            "suspect": SUSPECT,
        }
        async with pipeline.pool.connection() as connection:
            statement = b"explain (analyze, costs off, timing off) " + load("kaguan.outbox.work", "claim").encode()
            plan = "\n".join(row[0] for row in await (await connection.execute(statement, parameters)).fetchall())
        assert "Seq Scan on tb_outbox" not in plan, plan
        assert "tb_ordering" not in plan, plan
        assert ["never executed" in line for line in plan.splitlines() if "on tb_work h" in line] == [True], plan
        looked_up[task_id] = ["never executed" not in line for line in plan.splitlines() if "on tb_outbox" in line]
    assert looked_up == {noted: [False], waiter: [True], fresh: [True]}


async def test_idle_keys_are_forgotten_and_used_ones_stay(pipeline: Pipeline) -> None:
    await pipeline.submit(1, ordering_key="busy")
    await pipeline.submit(1, ordering_key="idle")
    await pipeline.sql("update tb_ordering set updated_at = updated_at - interval '90 days'")
    await pipeline.sql("update tb_ordering set head = null where key = 'idle'")
    async with pipeline.pool.connection() as connection:
        assert await ordering.expire(connection, 30, 100) == 1
    assert await pipeline.sql("select key from tb_ordering") == [("busy",)]
