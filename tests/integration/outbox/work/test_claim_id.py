"""历史断了，投递号与尝试数都重复：僵尸与新的持有者拿着同一次投递，只有认领号分得清（docs/adr/0032）。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest

from kaguan.config import Settings
from kaguan.database.pool import Connection, Pool
from kaguan.outbox.operate.decisions import cancel
from kaguan.outbox.task_type import Payload
from kaguan.outbox.testing import Recorder
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.claiming import Claim, Claims, claim
from kaguan.outbox.work.fence import Fence, FencedError, Token
from kaguan.outbox.work.leases import Leases
from kaguan.outbox.work.outcome import Cancelled, Discard, Done, Outcome, Retry, Snooze, Uncertain
from kaguan.outbox.work.settlement import Fenced, Settled, Settlement, Success, settle_done
from kaguan.words.reasons import Reason
from tests.support.eventually import eventually
from tests.support.history import CUT, KEEP
from tests.support.mail_tasks import SENDER, config_for
from tests.support.pipeline import Pipeline, open_pipeline, write_event
from tests.support.smtp_server import smtp_server
from workers.email.handler import EmailHandler
from workers.email.transport import open_mailer

pytestmark = pytest.mark.unjudged("把任务行改回从前，当作历史断了")
ROW = "select t::text from vw_task t"
LEASE = 60.0  # 秒
# 经连接池，等着的那个后端的进程号问不出来：看语句
BLOCKED = (
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' "
    "and strpos(query, 'with wanted as materialized') > 0"
)
EXPIRING = "update tb_work set lease_until = clock_timestamp() + interval '1 s'"
RENEWED = "select lease_until > clock_timestamp() + interval '30 s' from vw_task"


@dataclass(slots=True)
class Late:
    """放行之前什么也不做的处理器；一次尝试一道门，依到来的先后。"""

    handler: Handler[Any]
    gates: asyncio.Queue[asyncio.Event] = field(default_factory=asyncio.Queue)

    async def __call__(self, attempt: Attempt) -> Outcome:
        gate = asyncio.Event()
        self.gates.put_nowait(gate)
        await gate.wait()
        return await self.handler(attempt)


@dataclass(slots=True)
class Twins:
    """同一个任务、同一次投递、同一次尝试的两个持有者，各在一个进程里，或同在一个。"""

    pipeline: Pipeline
    zombie: Attempt
    heir: Attempt
    zombies: Leases
    heirs: Leases
    settlement: Settlement

    async def row(self) -> list[tuple[str]]:
        return await self.pipeline.sql(ROW)


async def held(pool: Pool, leases: Leases, task_id: UUID) -> Attempt:
    (claim,) = await Claims(pool, leases).claim([(task_id, 1)])
    return Attempt(Fence(pool, claim.token), claim.type, claim.attempt, claim.max_attempts, Payload())


@pytest.fixture
async def pipeline(settings: Settings, pool: Pool) -> AsyncIterator[Pipeline]:
    async with open_pipeline(settings, pool) as opened:
        yield opened


@pytest.fixture(params=["two processes"])
async def twins(pipeline: Pipeline, request: pytest.FixtureRequest) -> AsyncIterator[Twins]:
    pool = pipeline.pool
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    zombies = Leases(pool, "worker-a", LEASE)
    heirs = zombies if request.param == "one process" else Leases(pool, "worker-b", LEASE)
    async with pool.connection() as connection:
        await connection.execute(KEEP)
        zombie = await held(pool, zombies, task_id)
        await connection.execute(CUT)
    heir = await held(pool, heirs, task_id)
    assert (zombie.token[:2], zombie.attempt) == (heir.token[:2], heir.attempt)
    with ExitStack() as holding:
        holding.enter_context(zombies.holding(zombie))
        holding.enter_context(heirs.holding(heir))
        yield Twins(pipeline, zombie, heir, zombies, heirs, Settlement(pool, "worker", pipeline.settings.tasks))


OUTCOMES = (
    Done({"n": 1}),
    Done({"n": 1}, write_event),
    Retry("对方忙"),
    Snooze("让位"),
    Discard("对方不收"),
    Cancelled("不做了"),
    Uncertain("不明"),
)


@pytest.mark.parametrize(
    "outcome", OUTCOMES, ids=["folded", "done", "retry", "continue", "fail", "cancel", "uncertain"]
)
async def test_the_zombie_of_a_lost_history_settles_nothing(twins: Twins, outcome: Outcome) -> None:
    before = await twins.row()
    assert isinstance(await twins.settlement.settle(twins.zombie, outcome), Fenced)
    assert await twins.row() == before
    assert await twins.pipeline.sql("select 1 from tb_sim_event") == []
    assert isinstance(await twins.settlement.settle(twins.heir, outcome), Settled)
    assert isinstance(await twins.settlement.settle(twins.zombie, outcome), Fenced)  # 也不把别人的结局认作自己的


async def test_two_claims_of_one_delivery_in_one_batch_are_told_apart(twins: Twins) -> None:
    holders = {"zombie": twins.zombie, "heir": twins.heir}
    settled = await asyncio.gather(*[twins.settlement.settle(one, Done({"by": name})) for name, one in holders.items()])
    assert [type(one) for one in settled] == [Fenced, Settled]
    assert await twins.pipeline.sql("select result ->> 'by' from vw_task") == [("heir",)]


async def test_two_claims_of_one_delivery_that_come_again_in_one_batch_are_told_apart(twins: Twins) -> None:
    holders = {"zombie": twins.zombie, "heir": twins.heir}
    settled = await asyncio.gather(*[twins.settlement.settle(one, Retry(name)) for name, one in holders.items()])
    assert [type(one) for one in settled] == [Fenced, Settled]
    assert await twins.pipeline.sql("select last_error, delivery from vw_task") == [(Reason.of("heir").stored(), 2)]


async def test_the_zombie_of_a_lost_history_passes_no_fence_and_declares_nothing(twins: Twins) -> None:
    before = await twins.row()
    with pytest.raises(FencedError):
        async with twins.zombie.transaction():
            raise NotImplementedError
    async with twins.pipeline.pool.connection() as connection:
        with pytest.raises(FencedError):
            await twins.zombie.declare_intent(connection)
    await twins.zombie.report(1, 2)
    assert await twins.row() == before
    async with twins.heir.transaction() as connection:
        await twins.heir.declare_intent(connection)
    await twins.heir.report(1, 2)
    assert await twins.pipeline.sql("select intent_at is null, progress ->> 'done' from vw_task") == [(False, "1")]


@pytest.mark.parametrize("twins", ["one process", "two processes"], indirect=True)
async def test_the_zombie_of_a_lost_history_neither_renews_nor_hands_back(twins: Twins) -> None:
    await twins.pipeline.sql(EXPIRING)
    if twins.zombies is not twins.heirs:
        before = await twins.row()
        await twins.zombies.run_once()
        assert await twins.row() == before
    await twins.heirs.run_once()
    assert (twins.zombie.lost.is_set(), twins.heir.lost.is_set()) == (True, False)
    assert await twins.pipeline.sql(RENEWED) == [(True,)]
    twins.zombies.abandon([twins.zombie.token])
    await twins.zombies.run_once()
    assert await twins.pipeline.sql(RENEWED) == [(True,)]
    assert await twins.heirs.release_all() == 1


@pytest.mark.parametrize("same", [True, False], ids=["one process", "two processes"])
async def test_a_mail_whose_zombie_had_not_declared_its_intent_goes_once(pipeline: Pipeline, *, same: bool) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(smtp_server())
        mailer = await stack.enter_async_context(open_mailer(config_for(server.url)))
        late = Late(EmailHandler(mailer, SENDER))
        first = pipeline.execution(late)
        second = first if same else pipeline.execution(late, "worker-b")
        connection = await stack.enter_async_context(pipeline.pool.connection())
        (task_id,) = await pipeline.submit()
        await pipeline.forwarder.run_once()
        await connection.execute(KEEP)
        zombie = asyncio.create_task(first({}, deliveries=[(str(task_id), 1)]))
        awake = await late.gates.get()
        await connection.execute(CUT)
        await pipeline.redis.flushdb()  # 僵尸的任务锁
        heir = asyncio.create_task(second({}, deliveries=[(str(task_id), 1)]))
        going = await late.gates.get()
        awake.set()
        await zombie
        assert server.mails == []
        going.set()
        await heir
        assert len(server.mails) == 1
    assert await pipeline.status(task_id) == "succeeded"
    assert await pipeline.sql("select kind, attempt from tb_task_event") == [("fenced", 1)]


async def test_nothing_is_settled_by_the_holder_of_an_earlier_delivery(pipeline: Pipeline) -> None:
    """投递号换了，手里的活还是它的。"""
    settlement = Settlement(pipeline.pool, "worker", pipeline.settings.tasks)
    for outcome in OUTCOMES[1:]:
        (task_id,) = await pipeline.submit()
        zombie = await held(pipeline.pool, Leases(pipeline.pool, "worker-a", LEASE), task_id)
        await pipeline.sql("update tb_work set lease_until = clock_timestamp() - interval '1 s'")
        await pipeline.sql("update tb_task set delivery = delivery + 1 where id = %s", task_id)
        assert isinstance(await settlement.settle(zombie, outcome), Fenced), outcome
        left = await pipeline.sql("select status, delivery, attempt from tb_task where id = %s", task_id)
        assert left == [("pending", 2, 0)], outcome


async def test_success_is_not_written_by_the_holder_of_an_earlier_delivery(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    zombie = await held(pipeline.pool, Leases(pipeline.pool, "worker-a", LEASE), task_id)
    await pipeline.sql("update tb_work set lease_until = clock_timestamp() - interval '1 s'")
    await pipeline.sql("update tb_task set delivery = delivery + 1")
    async with pipeline.pool.connection() as connection:
        assert await settle_done(connection, [Success(zombie.token, {}, None, None)]) == [None]
    assert await pipeline.sql("select status from tb_task") == [("pending",)]


async def test_a_claim_that_waited_for_another_does_not_take_it_over(pipeline: Pipeline) -> None:
    """两个 worker 拿到同一次投递，后来的等着先来的锁：先来的提交了，任务行却没有变。"""
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    first, second = (Token(task_id, 1, uuid4()) for _ in range(2))
    async with pipeline.pool.connection() as one, pipeline.pool.connection() as other:
        async with one.transaction():
            (taken,) = await claim(one, [(first, None)], worker="worker-a", lease=LEASE)
            waiting = await behind(pipeline, other, second)
        assert taken is not None
        assert await waiting == [None]
    assert await pipeline.sql("select worker, claim_id from tb_work") == [("worker-a", first.claim_id)]


async def test_a_claim_that_waited_for_a_cancellation_runs_nothing(pipeline: Pipeline) -> None:
    """它从前的快照里，手里的活还在；任务已了结。"""
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    async with pipeline.pool.connection() as one, pipeline.pool.connection() as other:
        async with one.transaction():
            await cancel(one, task_id, "ops")
            waiting = await behind(pipeline, other, Token(task_id, 1, uuid4()))
        assert await waiting == [None]
    assert await pipeline.sql("select status, worker from vw_task") == [("cancelled", None)]


async def behind(pipeline: Pipeline, connection: Connection, token: Token) -> asyncio.Task[list[Claim | None]]:
    """一次认领，等着别人的锁。"""
    waiting = asyncio.create_task(claim(connection, [(token, None)], worker="worker-b", lease=LEASE))

    async def waits() -> bool:
        return await pipeline.sql(BLOCKED) == [(1,)]

    await eventually(waits)
    return waiting


@pytest.mark.parametrize(("name", "told"), [("node-7-8bb4efe7", "…8bb4efe7"), ("named-by-hand", None)])
async def test_a_task_that_succeeded_says_how_the_name_of_its_worker_ended(
    pipeline: Pipeline, name: str, told: str | None
) -> None:
    """手里的那一行不在了，认领号末尾还在；自己取的名字没有这样的尾巴，就不说。"""
    task_ids = await pipeline.submit(2)
    execution = pipeline.execution(Recorder([Done({}), Done({})]), name)
    await execution({}, deliveries=[(str(task_id), 1) for task_id in task_ids])
    records = [await pipeline.task(task_id) for task_id in task_ids]
    assert [(record.status, record.worker) for record in records] == [("succeeded", told)] * 2
    rows = await pipeline.sql("select count(distinct claim_id) from tb_task")
    assert rows == [(2,)]
