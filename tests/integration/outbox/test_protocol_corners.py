"""投递协议的角落：被中止的执行、醒来的旧持有者、半途死去的取件、意外的错误——没有一个会把任务卡死。"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg.errors import ReadOnlySqlTransaction
from saq.job import Status

from kaguan.config import load_settings
from kaguan.database.pool import Connection, Pool, open_pool
from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox import loop
from kaguan.outbox.accept import acceptance as service
from kaguan.outbox.accept.acceptance import GroupAccept
from kaguan.outbox.operate import decisions
from kaguan.outbox.testing import Recorder
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.leases import Leases, beating
from kaguan.outbox.work.outcome import Done, Outcome, Retry
from kaguan.outbox.work.settlement import Settled
from kaguan.queues import keys
from kaguan.queues.keys import delivery_key
from kaguan.words.reasons import Reason
from tests.support.alongside import alongside
from tests.support.eventually import PATIENCE, eventually
from tests.support.in_hand import HOLD
from tests.support.pipeline import MAX_ATTEMPTS, Held, Pipeline, open_pipeline, write_event
from tests.support.running_task import LOCKED


@pytest.fixture
async def pipeline(environ: dict[str, str], pool: Pool) -> AsyncIterator[Pipeline]:
    """核对的等待为零，重投因此不用等。"""
    settings = load_settings({**environ, "KAGUAN_RELAY__PRESENCE_AGE": "0.000001"})
    async with open_pipeline(settings, pool) as opened:
        yield opened


# ---- 执行被中止


async def test_execution_cancelled_outside_a_shutdown_gives_its_task_back(pipeline: Pipeline) -> None:
    """SAQ 的时限、监控台的 abort 都会取消执行；没有人在做的任务不许再续租。"""
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    handler = Held()
    execution = pipeline.execution(handler)
    job = asyncio.create_task(execution({}, deliveries=[(str(task_id), 1)]))
    await handler.started.wait()
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    await execution.leases.run_once()
    assert await pipeline.leases_redrive.run_once() == 1
    record = await pipeline.task(task_id)
    assert (record.status, record.attempt, record.lost_leases) == ("pending", 0, 0)
    assert await execution.leases.release_all() == 0


async def test_sweep_by_a_worker_whose_clock_is_wrong_does_not_stop_healthy_work(pipeline: Pipeline) -> None:
    """时钟快一小时的 worker 会把别人正在做的都当成卡死，清扫掉。"""
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    handler = Held()
    taker = pipeline.worker(handler).consumer().taker(Priority.DEFAULT)
    async with alongside(taker.start(), "taker"):
        await handler.started.wait()
        job = await taker.queue.job(delivery_key(task_id, 1))
        assert job is not None
        await taker.queue.abort(job, error="swept")
        (held,) = await taker.queue.jobs(one.key for one in taker.job_task_contexts)
        assert held is not None
        assert held.status is Status.ABORTING  # SAQ 自己的查看会中止它
        await taker.abort(0)
        handler.released.set()

        async def succeeded() -> bool:
            return await pipeline.status(task_id) == "succeeded"

        await eventually(succeeded)
        await taker.stop()


# ---- Redis 里的残骸


async def test_job_popped_by_a_worker_that_died_before_starting_it_comes_back(pipeline: Pipeline) -> None:
    """BLMOVE 与标记 ACTIVE 之间被杀：SAQ 里它既不在等、也不在做，只有打扫能看见——而我们不靠打扫。"""
    popped, waiting = await pipeline.submit(2)
    await pipeline.forwarder.run_once()
    queue = pipeline.queues[Priority.DEFAULT]
    queued, active = queue.namespace("queued"), queue.namespace("active")
    moved = await pipeline.redis.lmove(queued, active, "LEFT", "RIGHT")
    if moved.decode().endswith(delivery_key(waiting, 1)):
        popped, waiting = waiting, popped
    await pipeline.sql("update tb_work set queued_at = queued_at - interval '1 hour'")
    await pipeline.presence.run_once()
    assert await pipeline.status(popped) == "queued"  # 也许只是还没来得及认领
    pipeline.presence.patience = 0.0
    await pipeline.presence.run_once()
    assert await pipeline.status(popped) == "pending"
    assert await pipeline.status(waiting) == "queued"


async def test_unreadable_epoch_counts_as_lost_data(pipeline: Pipeline) -> None:
    await pipeline.epoch.run_once()
    await pipeline.submit(3)
    await pipeline.forwarder.run_once()
    await pipeline.redis.flushdb()
    await pipeline.redis.set(keys.EPOCH, "garbage")
    assert await pipeline.epoch.run_once() == 3
    assert await pipeline.epoch.run_once() == 0


# ---- 旧的持有者


@pytest.mark.unjudged("收回是用例写的")
async def test_stale_retry_does_not_touch_the_outbox_row_of_the_new_delivery(pipeline: Pipeline) -> None:
    """结算撞上一次尚未提交的收回：令牌失效，发件箱里新投递的到期时间不许被改。"""
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    handler = Held(Retry("对方忙", delay=3_600))
    job = asyncio.create_task(pipeline.execution(handler)({}, deliveries=[(str(task_id), 1)]))
    await handler.started.wait()
    await pipeline.sql("update tb_work set lease_until = now() - interval '1 second'")

    async def settling() -> bool:
        """结算在等我们手里的行锁。"""
        blocked = (
            "select count(*) > 0 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        )
        return bool((await pipeline.sql(blocked))[0][0])

    async with pipeline.pool.connection() as connection, connection.transaction():
        await connection.execute("update tb_task set delivery = 2")
        await connection.execute(
            "insert into tb_outbox (task_id, delivery, type, priority, principal) values (%s, 2, 'email:send', 1, 'p')",
            (task_id,),
        )
        handler.released.set()
        await eventually(settling)
    await job
    assert await pipeline.sql("select delivery, available_at <= now() from tb_outbox") == [(2, True)]
    assert await pipeline.status(task_id) == "pending"


async def test_settlement_repeated_after_a_lost_commit_reply_is_not_a_fenced_write(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    seen: list[Attempt] = []

    async def handler(attempt: Attempt) -> Outcome:
        seen.append(attempt)
        return Done({"n": 1}, write_event)

    execution = pipeline.execution(handler)
    await execution({}, deliveries=[(str(task_id), 1)])
    again = await execution.settlement.settle(seen[0], Done({"n": 1}, write_event))
    assert isinstance(again, Settled)
    assert again.status == "succeeded"
    assert await pipeline.sql("select count(*) from tb_sim_event") == [(1,)]


# ---- 别人锁着一行


@pytest.mark.usefixtures("brief_locks")
async def test_one_locked_row_stops_neither_the_leases_nor_the_settlements_of_the_others(pipeline: Pipeline) -> None:
    locked, *others = await pipeline.submit(3)
    await pipeline.forwarder.run_once()
    handler = Held()
    execution = pipeline.execution(handler)
    jobs = [asyncio.create_task(execution({}, deliveries=[(str(one), 1)])) for one in (locked, *others)]
    await eventually(lambda: len(handler.attempts) == 3)
    await pipeline.sql("update tb_work set lease_until = now() + interval '1 second'")
    async with pipeline.pool.connection() as other, other.transaction():
        await other.execute(LOCKED, (locked,))
        await execution.leases.run_once()
        renewed = await pipeline.sql("select id from vw_task where lease_until > now() + interval '5 seconds'")
        assert sorted(row[0] for row in renewed) == sorted(others)
        assert not any(attempt.lost.is_set() for attempt in handler.attempts)
        handler.released.set()

        async def others_done() -> bool:
            return [await pipeline.status(one) for one in others] == ["succeeded"] * 2

        await eventually(others_done)
        assert await pipeline.status(locked) == "running"
    await asyncio.gather(*jobs)
    assert await pipeline.status(locked) == "succeeded"


@pytest.mark.usefixtures("brief_locks")
async def test_one_locked_row_does_not_keep_the_others_from_being_claimed_or_handed_back(pipeline: Pipeline) -> None:
    locked, *others = tasks = await pipeline.submit(3)
    await pipeline.forwarder.run_once()
    handler = Held()
    execution = pipeline.execution(handler)
    pairs = [(str(one), 1) for one in tasks]
    async with pipeline.pool.connection() as other, other.transaction():
        await other.execute("select from tb_task where id = %s for update", (locked,))
        job = asyncio.create_task(execution({}, deliveries=pairs))
        await handler.started.wait()
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        assert await execution.leases.release_all() == 2
        assert sorted([await pipeline.status(one) for one in others]) == ["running"] * 2
    assert await pipeline.leases_redrive.run_once() == 2
    assert await pipeline.status(locked) == "queued"


async def test_what_was_locked_when_it_should_have_been_handed_back_is_handed_back_later(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    handler = Held()
    execution = pipeline.execution(handler)
    job = asyncio.create_task(execution({}, deliveries=[(str(task_id), 1)]))
    await handler.started.wait()
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    async with pipeline.pool.connection() as other, other.transaction():
        await other.execute(LOCKED, (task_id,))
        await execution.leases.run_once()
    assert await pipeline.leases_redrive.run_once() == 0
    await execution.leases.run_once()
    assert await pipeline.leases_redrive.run_once() == 1


# ---- 结算


async def test_failing_write_costs_an_attempt_and_its_cause_is_kept(pipeline: Pipeline) -> None:
    """写入失败不是丢租约：立刻记下原因、按退避重来，而不是等租约到期、五次之后当成毒丸。"""
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()

    async def failing(connection: Connection) -> None:
        await write_event(connection)
        raise ZeroDivisionError

    await pipeline.execution(Recorder([Done(effect=failing)]))({}, deliveries=[(str(task_id), 1)])
    record = await pipeline.task(task_id)
    assert (record.status, record.attempt, record.lost_leases) == ("retrying", 1, 0)
    assert record.last_error == Reason("outbox.unexpected", {"error": "ZeroDivisionError"}).stored()
    assert await pipeline.sql("select count(*) from tb_sim_event") == [(0,)]


async def test_cancel_asked_for_while_an_attempt_fails_is_not_forgotten(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    handler = Held(Retry("对方忙"))
    job = asyncio.create_task(pipeline.execution(handler)({}, deliveries=[(str(task_id), 1)]))
    await handler.started.wait()
    async with pipeline.pool.connection() as connection, connection.transaction():
        assert await decisions.cancel(connection, task_id, "tester") == "running"
    handler.released.set()
    await job
    assert await pipeline.status(task_id) == "cancelled"
    assert await pipeline.sql("select count(*) from tb_outbox") == [(0,)]
    kinds = [row[0] for row in await pipeline.sql("select kind from tb_task_event order by id")]
    assert kinds == ["cancel_requested", "attempt_failed", "cancelled"]


@pytest.mark.unjudged("连丢的租约是改出来的")
async def test_only_consecutive_lost_leases_make_a_task_poison(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    limit = pipeline.settings.relay.max_deliveries_without_result
    await pipeline.sql("update tb_task set lost_leases = %s", limit - 1)
    await pipeline.forwarder.run_once()
    await pipeline.execution(Recorder([Retry("对方忙")]))({}, deliveries=[(str(task_id), 1)])
    assert (await pipeline.task(task_id)).lost_leases == 0


# ---- 循环


async def test_loop_outlives_an_unexpected_error_and_stops_when_asked() -> None:
    stop = asyncio.Event()
    calls = 0

    async def run_once() -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError
        stop.set()
        return 0

    async with asyncio.timeout(PATIENCE):
        await loop.run("test", run_once, interval=0.01, backoff_max=0.01, stop=stop)
    assert calls == 2


async def test_a_loop_that_did_something_wakes_the_one_that_waits() -> None:
    """重投、补漏、放行写进发件箱的，转交立刻知道。"""
    stop, heard = asyncio.Event(), asyncio.Event()
    forwarded = asyncio.Event()
    found = [1]

    async def redrive() -> int:
        return found.pop() if found else 0

    async def forward() -> int:
        if not found:
            forwarded.set()
        return 0

    waiting = asyncio.create_task(loop.run("forward", forward, interval=3_600, backoff_max=1, stop=stop, wake=heard))
    await asyncio.sleep(0)
    working = asyncio.create_task(loop.run("redrive", redrive, interval=3_600, backoff_max=1, stop=stop, rouse=heard))
    await asyncio.wait_for(forwarded.wait(), PATIENCE)
    stop.set()
    await asyncio.gather(waiting, working)


async def test_waiting_loop_can_be_cancelled() -> None:
    """吞掉取消的循环会让一组循环永远等它：一个死了，进程却不退出。"""

    ran = asyncio.Event()

    async def idle() -> int:
        ran.set()
        return 0

    task = asyncio.create_task(loop.run("test", idle, interval=60, backoff_max=1, stop=asyncio.Event()))
    await ran.wait()
    await asyncio.sleep(0)  # 这一圈做完就开始等
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=PATIENCE)
    assert done
    assert task.cancelled()


@pytest.mark.direct("冻住后端要知道它的进程号；经连接池，下一句也可能到另一个后端")
async def test_loop_gives_up_on_a_database_that_never_answers(pipeline: Pipeline) -> None:
    """会话还在、对方不答（后端被冻住、代理黑洞）：没有时限就永远卡在那一句上。"""
    stop = asyncio.Event()
    frozen: list[int] = []

    async def run_once() -> int:
        if frozen:
            stop.set()
            return 0
        async with pipeline.pool.connection() as connection:
            frozen.append(connection.info.backend_pid)
            os.kill(connection.info.backend_pid, signal.SIGSTOP)
            await connection.execute("select 1")
        return 1

    try:
        async with asyncio.timeout(PATIENCE):
            await loop.run("test", run_once, interval=0.01, backoff_max=0.01, stop=stop, limit=0.3)
    finally:
        os.kill(frozen[0], signal.SIGCONT)


async def test_heartbeat_goes_on_after_a_failover_to_a_read_only_server(
    environ: dict[str, str], direct_url: str
) -> None:
    settings = load_settings({**environ, "KAGUAN_WORKER__LEASE": "0.6", "KAGUAN_DATABASE__POOL_MAX": "2"})
    async with (
        open_pool(settings.database, "test") as pool,
        open_pipeline(settings, pool) as pipeline,
        await psycopg.AsyncConnection.connect(direct_url, autocommit=True) as admin,
    ):
        (task_id,) = await pipeline.submit()
        await pipeline.forwarder.run_once()
        handler = Held()
        leases = ObservedLeases(pool, "worker-a", settings.worker.lease)
        execution = pipeline.execution(handler, leases=leases)
        job = asyncio.create_task(execution({}, deliveries=[(str(task_id), 1)]))
        await handler.started.wait()
        async with beating(leases):
            await read_only(admin, "on")
            await eventually(leases.met_read_only.is_set)
            await read_only(admin, "off")
            await admin.execute("update tb_work set lease_until = now() + interval '1 hour'")

            async def renewed() -> bool:
                cursor = await admin.execute("select lease_until < now() + interval '1 minute' from vw_task")
                return await cursor.fetchone() == (True,)

            await eventually(renewed)
        handler.released.set()
        await job
        assert await pipeline.status(task_id) == "succeeded"


class ObservedLeases(Leases):
    """说得出哪一拍碰上了只读的库。"""

    def __init__(self, pool: Pool, worker: str, lease: float) -> None:
        super().__init__(pool, worker, lease)
        self.met_read_only = asyncio.Event()

    async def run_once(self) -> int:
        try:
            return await super().run_once()
        except ReadOnlySqlTransaction:
            self.met_read_only.set()
            raise


async def read_only(admin: psycopg.AsyncConnection[tuple[object, ...]], switch: str) -> None:
    """像切换到备库那样：新会话只读，旧会话全断。"""
    await admin.execute("set default_transaction_read_only = off")
    await admin.execute(f"alter database {admin.info.dbname} set default_transaction_read_only = {switch}".encode())
    await admin.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
    )


# ---- 合并提交


async def test_lane_outlives_a_row_that_cannot_even_be_encoded(pool: Pool) -> None:
    payload = EmailPayload(to=("a@example.com",), subject="s", body="b")
    good = service.Submission(EMAIL_SEND, payload)
    bad = service.Submission(EMAIL_SEND, payload, principal="\udc80")
    folded = GroupAccept(pool, MAX_ATTEMPTS)
    async with asyncio.timeout(PATIENCE):
        for _ in range(3):
            answers = await asyncio.gather(*(folded.accept(s) for s in (bad, good)), return_exceptions=True)
            assert isinstance(answers[0], TypeError)
            assert isinstance(answers[1], service.Accepted)


async def test_same_request_ids_in_opposite_order_do_not_deadlock(pipeline: Pipeline) -> None:
    """每行插入前停一停，让两批真的交错。"""
    await pipeline.sql(
        "create function slowly() returns trigger language plpgsql as"
        " $$ begin perform pg_sleep(0.2); return new; end $$"
    )
    await pipeline.sql("create trigger slowly before insert on tb_task for each row execute function slowly()")
    payload = EmailPayload(to=("a@example.com",), subject="s", body="b")
    forth = [service.Submission(EMAIL_SEND, payload, principal="p", request_id=key) for key in ("a", "b")]

    async def accept(submissions: list[service.Submission[Any]]) -> None:
        async with pipeline.pool.connection() as connection:
            await service.accept_many(connection, submissions, MAX_ATTEMPTS)

    await asyncio.gather(accept(forth), accept(forth[::-1]))
    assert await pipeline.sql("select count(*) from vw_task") == [(2,)]


@pytest.mark.unjudged("行是用例写成的")
async def test_a_cancel_that_waited_for_a_settlement_cancels_what_waits_again(pipeline: Pipeline) -> None:
    """先锁住再看：等锁的工夫里写下的发件箱行，与任务一起没了。"""
    (task_id,) = await pipeline.submit()
    await pipeline.sql("delete from tb_outbox")
    await pipeline.sql(HOLD, "w", "1 min", [task_id])

    async def cancel() -> str:
        async with pipeline.pool.connection() as connection, connection.transaction():
            return await decisions.cancel(connection, task_id, "me")

    async with pipeline.pool.connection() as holder:
        async with holder.transaction():
            await holder.execute("update tb_task set status = 'retrying', delivery = 2")
            await holder.execute("delete from tb_work")
            await holder.execute(
                "insert into tb_outbox (task_id, delivery, type, priority, principal)"
                " select id, delivery, type, 1, principal from tb_task"
            )
            cancelling = asyncio.create_task(cancel())
            await eventually(pipeline.is_waiting_for_a_lock)
        assert await asyncio.wait_for(cancelling, PATIENCE) == "cancelled"
    assert await pipeline.status(task_id) == "cancelled"
    assert await pipeline.sql("select count(*) from tb_outbox") == [(0,)]
