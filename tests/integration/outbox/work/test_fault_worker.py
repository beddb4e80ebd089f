"""worker 的故障，死在生效前后、停住又醒、被毒信弄死、钟差一小时、SIGTERM（FAULTS.md 9、10、13、18、38）。"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import date
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from kaguan.config import load_settings
from kaguan.config.model import Worker
from kaguan.database.pool import Pool
from kaguan.dev.simulator import iccid_at
from kaguan.flow.probes import LOOPBACK
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.accept.acceptance import Submission, accept_one
from kaguan.outbox.deliver.deliveries import Delivery, enqueue_many
from kaguan.outbox.vocabulary import Priority
from kaguan.sims.tasks import DATA_SYNC, DataSyncPayload
from kaguan.sims.vocabulary import Carrier, SyncType
from tests.chaos.proxy import Proxy
from tests.support.carrier_world import register
from tests.support.eventually import PACE, PATIENCE, eventually
from tests.support.fault_clock import shifted
from tests.support.fault_plant import (
    AS_SHIPPED,
    EFFECT_TABLE,
    LASTING,
    QUICK,
    Child,
    Effects,
    all_closed,
    child,
    effects,
    local,
    mail,
    only_kaguan,
    port_of,
    relaying,
    through,
)
from tests.support.fault_worker import CRASHED
from tests.support.pipeline import MAX_ATTEMPTS, Pipeline, open_pipeline
from tests.support.places import own_port
from tests.support.records import Record
from tests.support.smtp_server import STALL, smtp_server

GATE = 4_243  # 咨询锁号
GRACE = Worker().shutdown_grace if AS_SHIPPED else min(Worker().shutdown_grace, 4 * PACE)
SHORT_JOB = min(3.0, GRACE / 4)  # 秒
POISON_LIMIT = 3
# 死了的丢下的，当场到期：活着的停顿得再久，也不算丢
EXPIRE = "update tb_work set lease_until = clock_timestamp() where lease_until is not null"


@pytest.fixture
async def pipeline(environ: dict[str, str], pool: Pool) -> AsyncIterator[Pipeline]:
    """本进程里的 worker 没有心跳，租约因此要长；短的是那些进程的。"""
    more = {"KAGUAN_RELAY__MAX_DELIVERIES_WITHOUT_RESULT": str(POISON_LIMIT), "KAGUAN_WORKER__LEASE": "60"}
    async with open_pipeline(load_settings({**environ, **QUICK, **more}), pool) as opened:
        await opened.sql(EFFECT_TABLE)
        yield opened


class Yard:
    """起 worker 进程的地方。"""

    def __init__(self, environ: dict[str, str], directory: Path) -> None:
        self.environ = {**only_kaguan(environ), **QUICK, "KAGUAN_WORKER__SHUTDOWN_GRACE": f"{GRACE:g}"}
        self.directory = directory
        self.count = 0

    def worker(self, module: str = "tests.support.fault_worker", **more: str) -> AbstractAsyncContextManager[Child]:
        self.count += 1
        return child(module, {**self.environ, **more}, self.directory / f"worker-{self.count}.log")


@pytest.fixture
def yard(environ: dict[str, str], tmp_path: Path) -> Yard:
    return Yard(environ, tmp_path)


async def submit(pipeline: Pipeline, script: str) -> UUID:
    async with pipeline.pool.connection() as connection:
        return (await accept_one(connection, Submission(EMAIL_SEND, mail(script)), MAX_ATTEMPTS)).task_id


async def becomes(pipeline: Pipeline, task_id: UUID, status: str) -> None:
    async def reached() -> bool:
        return await pipeline.status(task_id) == status

    await eventually(reached)


# ---- 死


async def test_a_worker_killed_before_its_effect_commits_leaves_none_and_its_heir_makes_one(
    pipeline: Pipeline, yard: Yard, direct_url: str
) -> None:
    """效果已写、还没提交，停在门口时被杀。"""
    await pipeline.sql(
        "create function gate() returns trigger language plpgsql as"
        f" $$ begin perform pg_advisory_xact_lock_shared({GATE}); return new; end $$"
    )
    await pipeline.sql("create trigger gate after insert on fault_effect for each row execute function gate()")
    async with relaying(pipeline), await psycopg.AsyncConnection.connect(direct_url, autocommit=True) as holder:
        await holder.execute("select pg_advisory_lock(%s)", (GATE,))
        task_id = await submit(pipeline, "quick")

        async def at_the_gate() -> bool:
            cursor = await holder.execute("select from pg_locks where locktype = 'advisory' and not granted")
            return await cursor.fetchone() is not None

        async with yard.worker() as victim:
            await eventually(at_the_gate)
            await victim.kill()
        assert await effects(pipeline) == (0, 0)
        await holder.execute("select pg_advisory_unlock(%s)", (GATE,))
        async with pipeline.working(Effects()):
            await becomes(pipeline, task_id, "succeeded")
    assert await effects(pipeline) == (1, 1)


async def test_a_worker_killed_after_its_effect_committed_is_not_repeated(
    pipeline: Pipeline, yard: Yard, environ: dict[str, str], tmp_path: Path
) -> None:
    """生效已提交，SAQ 还不知道（通往 Redis 的线路黑了）时被杀：那次投递谁再取到都不许再做。"""
    url = environ["KAGUAN_REDIS__URL"]
    port = port_of(url)
    line, gate = Proxy(port), tmp_path / "gate"
    await line.start()
    try:
        task_id = await submit(pipeline, f"gate:{gate}")
        async with yard.worker(KAGUAN_REDIS__URL=through(url, port, line.port)) as victim:
            await pipeline.forwarder.run_once()
            await becomes(pipeline, task_id, "running")
            line.blackhole()
            gate.touch()
            await becomes(pipeline, task_id, "succeeded")
            await victim.kill()
    finally:
        await line.stop()
    queue = pipeline.queues[Priority.DEFAULT]
    # 旧的投递再冒出来一次；Redis 里的锁与记号都没了，只有 PostgreSQL 挡得住
    await pipeline.redis.flushdb()
    stale = Delivery(Priority.DEFAULT, EMAIL_SEND.name, [(task_id, 1)])
    await enqueue_many(pipeline.queues, [stale], 600, 0.0)
    again = Effects()
    async with pipeline.working(again), relaying(pipeline):

        async def taken() -> bool:
            return await queue.count("incomplete") == 0

        await eventually(taken)
    assert again.started == []
    assert await effects(pipeline) == (1, 1)


async def test_a_worker_stopped_beyond_its_lease_changes_nothing_when_it_wakes(
    pipeline: Pipeline, yard: Yard, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    async with relaying(pipeline), yard.worker() as zombie:
        task_id = await submit(pipeline, f"gate:{gate}")
        await becomes(pipeline, task_id, "running")
        zombie.send(signal.SIGSTOP)
        async with pipeline.working(Effects()):
            await becomes(pipeline, task_id, "succeeded")
            record = await pipeline.task(task_id)
            assert record.delivery > 1
            gate.touch()
            zombie.send(signal.SIGCONT)
            # 醒来的还能干活，而且没有把别人的登记弄丢
            others = [await submit(pipeline, "quick") for _ in range(5)]
            await eventually(lambda: all_closed(pipeline))
        assert await zombie.stopped() == 0
    assert (await pipeline.task(task_id)).result == record.result
    assert await effects(pipeline) == (1 + len(others), 1 + len(others))


@pytest.mark.protocol(lost=POISON_LIMIT)
async def test_a_mail_that_kills_its_worker_is_parked_and_the_others_flow(pipeline: Pipeline, yard: Yard) -> None:
    poison = await submit(pipeline, "crash")
    others: list[UUID] = []
    async with relaying(pipeline):
        for _ in range(POISON_LIMIT):
            async with yard.worker(**LASTING) as victim:
                assert await asyncio.wait_for(victim.process.wait(), PATIENCE) == CRASHED, victim.output
            await pipeline.sql(EXPIRE)
            # 迟来的至多陪它死一次：同时在手里的分不出谁是毒（test_fault_limits 另考）
            others += [await submit(pipeline, "quick") for _ in range(5 - len(others))]
        async with yard.worker(**LASTING):
            await eventually(lambda: all_closed(pipeline))
    record = await pipeline.task(poison)
    assert (record.status, record.lost_leases) == ("failed", POISON_LIMIT)
    assert record.last_error is not None
    assert await pipeline.sql("select kind from tb_task_event where task_id = %s order by id desc limit 1", poison) == [
        ("parked",)
    ]
    assert await effects(pipeline) == (len(others), len(others))


@pytest.mark.protocol(lost=POISON_LIMIT)
async def test_a_killer_ends_as_failed_and_those_who_die_beside_it_never(pipeline: Pipeline, yard: Yard) -> None:
    """骰子总是最坏：手里空着就一齐回来，比毒信做得久的因此次次在场。"""
    innocents = [await submit(pipeline, "slow:2") for _ in range(3)]
    killer = await submit(pipeline, "crash")

    async def ended() -> bool:
        await pipeline.sql(
            "update tb_outbox set available_at = now()"
            " where not exists (select from tb_work where lease_until is not null)"
        )
        return await all_closed(pipeline)

    async with relaying(pipeline):
        deaths = 0
        while not await ended():
            async with yard.worker(**LASTING) as victim:
                dying = asyncio.create_task(victim.process.wait())
                over = asyncio.create_task(eventually(ended))
                await asyncio.wait({dying, over}, return_when=asyncio.FIRST_COMPLETED)
                deaths += dying.done()
                for waiting in (dying, over):
                    waiting.cancel()
            await pipeline.sql(EXPIRE)
    assert deaths <= 2 + POISON_LIMIT
    assert (await pipeline.task(killer)).status == "failed"
    assert [(await pipeline.task(one)).status for one in innocents] == ["succeeded"] * len(innocents)


# ---- 时钟


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_worker_whose_clock_is_an_hour_off_neither_loses_nor_aborts_work(
    pipeline: Pipeline, yard: Yard, tmp_path: Path, hours: int
) -> None:
    """期限只听 PostgreSQL 的钟：偏的那个照常干活；比它快一小时的来清扫，把它正在做的当成卡死，也中止不了它。"""
    clock, gate = dict(shifted(hours * 3_600, tmp_path)), tmp_path / "gate"
    (tmp_path / "ahead").mkdir()
    ahead = shifted((hours + 1) * 3_600, tmp_path / "ahead")
    queue = pipeline.queues[Priority.DEFAULT]
    async with relaying(pipeline), yard.worker(**clock, KAGUAN_WORKER__LEASE=f"{PATIENCE / 6:g}") as odd:

        async def swept() -> bool:
            return await queue.count("incomplete") == 0

        first = await submit(pipeline, f"gate:{gate}")
        await becomes(pipeline, first, "running")
        [(claimed,)] = await pipeline.sql("select lease_until from tb_work")
        await pipeline.redis.delete(queue.namespace("sweep"))
        async with yard.worker("tests.support.fault_sweeper", **ahead):
            await eventually(swept)
            await eventually(lambda: pipeline.sql("select 1 from tb_work where lease_until > %s", claimed))  # 心跳续着
            gate.touch()
            async with pipeline.working(Effects(0.3)):
                for _ in range(2):
                    await pipeline.submit(10)
                    await eventually(lambda: all_closed(pipeline))
        assert odd.process.returncode is None
    assert await pipeline.sql("select task_id = %s, kind, detail from tb_task_event order by id", first) == []
    record = await pipeline.task(first)
    assert (record.status, record.attempt, record.delivery) == ("succeeded", 1, 1)
    assert await effects(pipeline) == (21, 21)


# ---- 停


async def test_an_idle_worker_stops_at_once_and_a_short_job_is_finished_first(
    pipeline: Pipeline, yard: Yard, record_property: Record
) -> None:
    grace = f"{Worker().shutdown_grace:g}"  # 停顿得再久，做完的也来得及结算
    async with relaying(pipeline), yard.worker(**LASTING, KAGUAN_WORKER__SHUTDOWN_GRACE=grace) as busy:
        task_id = await submit(pipeline, f"slow:{SHORT_JOB:g}")

        async def begun() -> bool:
            return await pipeline.status(task_id) in {"running", "succeeded"}

        await eventually(begun)
        assert await busy.stopped() == 0
        record = await pipeline.task(task_id)
        assert (record.status, record.attempt) == ("succeeded", 1)
        record_property("一个 3 秒的任务在做", busy.stopping)
    async with yard.worker() as idle:
        await eventually(lambda: "进程启动" in idle.output)
        assert await idle.stopped() == 0
        record_property("闲着", idle.stopping)


async def test_a_job_that_will_not_stop_is_given_back_uncounted(
    pipeline: Pipeline, yard: Yard, record_property: Record
) -> None:
    async with relaying(pipeline):
        async with yard.worker(**LASTING) as stuck:
            task_id = await submit(pipeline, "hang")
            await becomes(pipeline, task_id, "running")
            assert await stuck.stopped() == 0
            record_property("处理器不肯停", stuck.stopping)
        await becomes(pipeline, task_id, "queued")
        record = await pipeline.task(task_id)
        assert (record.attempt, record.lost_leases, record.delivery) == (0, 0, 2)


async def test_a_sync_hanging_at_the_carrier_is_given_back_uncounted_within_the_default_grace(
    pipeline: Pipeline, yard: Yard, record_property: Record
) -> None:
    """运营商收下连接、从不应答；停机的宽限、租约都是产品的默认。自己退出（0）的，没有用到 29 秒的看门狗（4）。"""
    config = Worker()
    await register(pipeline.pool, Carrier.ONELINK, [iccid_at(Carrier.ONELINK, 0)])
    async with silent_server() as (url, asked), relaying(pipeline):
        task_id = await submit_sync(pipeline)
        async with yard.worker(
            "workers",
            KAGUAN_SMTP__URL=f"smtp://{LOOPBACK}:{own_port()}",
            KAGUAN_WORKER__SHUTDOWN_GRACE=f"{config.shutdown_grace:g}",
            KAGUAN_WORKER__LEASE=f"{config.lease:g}",
            KAGUAN_CARRIERS__ONELINK__BASE_URL=url,
            KAGUAN_CARRIERS__ONELINK__PASSWORD="secret",
            KAGUAN_CARRIERS__ONELINK__TIMEOUT="120",
            KAGUAN_CARRIERS__TIME_BUDGET="120",
        ) as syncing:
            await asyncio.wait_for(asked.wait(), PATIENCE)
            assert await syncing.stopped() == 0
            record_property("同步挂在运营商那里", syncing.stopping)
        await becomes(pipeline, task_id, "queued")
    record = await pipeline.task(task_id)
    assert (record.attempt, record.lost_leases, record.delivery) == (0, 0, 2)
    async with pipeline.working(Effects()):
        await becomes(pipeline, task_id, "succeeded")
    assert await effects(pipeline) == (1, 1)


async def submit_sync(pipeline: Pipeline) -> UUID:
    day = date(2026, 1, 1)
    payload = DataSyncPayload(sync_type=SyncType.SIM_STATUS, start_date=day, end_date=day, carrier=Carrier.ONELINK)
    async with pipeline.pool.connection() as connection:
        return (await accept_one(connection, Submission(DATA_SYNC, payload), MAX_ATTEMPTS)).task_id


@asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """收下请求，一个字节也不答；事件是有人问过了。"""
    asked = asyncio.Event()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            asked.set()
        writer.close()

    async with await asyncio.start_server(swallow, LOOPBACK, 0) as server:
        yield local(server.sockets[0].getsockname()[1]), asked


@pytest.mark.parametrize(("phase", "status"), [("greeting", "queued"), ("body", "uncertain")])
async def test_a_mail_hanging_at_the_server_is_given_back_or_admitted_uncertain(
    pipeline: Pipeline, yard: Yard, record_property: Record, phase: str, status: str
) -> None:
    """SMTP 装死时停机：还没开口的交还，正文已送出而没有答复的如实说不明。"""
    async with smtp_server() as server, relaying(pipeline):
        if phase == "greeting":
            server.script.greeting = STALL
        else:
            server.script.body.append(STALL)
        smtp = {"KAGUAN_SMTP__URL": server.url, "KAGUAN_SMTP__TIMEOUT": "30"}
        async with yard.worker("workers", **LASTING, **smtp) as sending:
            task_id = await submit(pipeline, "主题")
            await becomes(pipeline, task_id, "running")
            if phase == "body":
                await eventually(lambda: server.mails)
            assert await sending.stopped() == 0
            record_property(f"SMTP 装死（{phase}）", sending.stopping)
        await becomes(pipeline, task_id, status)
        assert (await pipeline.task(task_id)).attempt == (0 if status == "queued" else 1)
