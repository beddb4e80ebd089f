"""时限与边界：对方不答的时候谁也不许永远等下去，一行被锁住也不许连累别的（FAULTS.md 13、21、44的角落）。"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest

from kaguan.config import load_settings
from kaguan.database.pool import Pool, open_pool
from kaguan.outbox.testing import Recorder
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.claiming import Claims
from kaguan.outbox.work.execution import Execution
from kaguan.outbox.work.leases import Leases, beating
from kaguan.outbox.work.outcome import Done, Outcome
from tests.chaos.proxy import Proxy
from tests.support.eventually import PACE, PATIENCE, eventually
from tests.support.fault_plant import (
    EFFECT_TABLE,
    QUICK,
    Effects,
    all_closed,
    effects,
    own_directory,
    own_postgres,
    port_of,
    relaying,
    through,
)
from tests.support.in_hand import HOLD
from tests.support.pipeline import Pipeline, open_pipeline

DATABASE = "KAGUAN_DATABASE__URL"
SHORT = 0.5 * PACE  # 秒：用例里的时限，代替产品里的几十秒
CLAIMS = b"queued_for"  # 只有认领的语句里有


@pytest.fixture
async def straight(environ: dict[str, str], pool: Pool) -> AsyncIterator[Pipeline]:
    """不经代理的一套。"""
    async with open_pipeline(load_settings({**environ, **QUICK, "KAGUAN_WORKER__LEASE": "60"}), pool) as opened:
        await opened.sql(EFFECT_TABLE)
        yield opened


@asynccontextmanager
async def crooked(environ: dict[str, str]) -> AsyncIterator[tuple[Pipeline, Proxy]]:
    """到 PostgreSQL 经一个代理的一套。"""
    line = Proxy(port_of(environ[DATABASE]))
    await line.start()
    settings = load_settings(
        {
            **environ,
            **QUICK,
            DATABASE: through(environ[DATABASE], line.target, line.port),
            "KAGUAN_WORKER__LEASE": "60",
        }
    )
    try:
        async with open_pool(settings.database, "crooked") as pool, open_pipeline(settings, pool) as pipeline:
            await pipeline.sql("select 1")  # 头一条连接怎么慢也不算
            pool.timeout = SHORT
            yield pipeline, line
    finally:
        await line.stop()


def impatient(pipeline: Pipeline, handler: Handler[Any]) -> Execution:
    """不肯等的：库不答就放下。"""
    leases = Leases(pipeline.pool, "worker-a", pipeline.settings.worker.lease)
    claims = Claims(pipeline.pool, leases, pipeline.redis, patience=SHORT, timeout=SHORT)
    return pipeline.execution(handler, leases=leases, claims=claims)


# ---- 数据库不答


async def test_a_claim_into_a_black_hole_gives_its_slot_back(straight: Pipeline, environ: dict[str, str]) -> None:
    (task_id,) = await straight.submit()
    await straight.forwarder.run_once()
    handler = Recorder()
    async with crooked(environ) as (pipeline, line):
        line.blackhole()
        async with asyncio.timeout(PATIENCE):
            await impatient(pipeline, handler)({}, deliveries=[(str(task_id), 1)])
        line.cut()
        line.heal()
    assert handler.attempts == []
    assert await straight.status(task_id) == "queued"


async def test_a_claim_whose_reply_was_lost_is_handed_back_and_done_once(
    straight: Pipeline, environ: dict[str, str]
) -> None:
    """认领其实写下了，回音丢了：没有人在做的任务，不等租约就交还，也不计尝试。"""
    (task_id,) = await straight.submit()
    await straight.forwarder.run_once()
    handler = Recorder()
    async with crooked(environ) as (pipeline, line):
        line.swallow(CLAIMS)
        execution = impatient(pipeline, handler)

        async def lost() -> bool:
            """写下了没有；时限之内没来得及写的，再认领。"""
            async with asyncio.timeout(PATIENCE):
                await execution({}, deliveries=[(str(task_id), 1)])
            return await straight.status(task_id) == "running"

        await eventually(lost)
        assert handler.attempts == []
        line.heal()
        line.cut()

        async def handed_back() -> bool:
            try:
                await execution.leases.run_once()
            except psycopg.OperationalError:
                return False
            return await straight.leases_redrive.run_once() == 1

        await eventually(handed_back)
    record = await straight.task(task_id)
    assert (record.status, record.attempt, record.lost_leases) == ("pending", 0, 0)
    async with straight.working(Effects()), relaying(straight):
        await eventually(lambda: all_closed(straight))
    assert await effects(straight) == (1, 1)


async def test_a_fenced_result_with_the_database_away_ends_quietly(straight: Pipeline, environ: dict[str, str]) -> None:
    """旧的持有者醒来时数据库正不在：连痕迹也记不成，但它安静地结束，不把异常抛给 SAQ。"""
    (task_id,) = await straight.submit()
    await straight.forwarder.run_once()
    async with crooked(environ) as (pipeline, line):

        async def zombie(attempt: Attempt) -> Outcome:
            line.refuse()
            attempt.lost.set()
            attempt.checkpoint()
            return Done()

        async with asyncio.timeout(PATIENCE):
            await pipeline.execution(zombie)({}, deliveries=[(str(task_id), 1)])
        line.heal()
    assert await straight.status(task_id) == "running"  # 由租约收回


async def test_a_known_outcome_survives_a_database_that_was_away_longer_than_the_lease(environ: dict[str, str]) -> None:
    """信已寄成而 PostgreSQL 停得比租约还久：活着的执行者回来先结算，任务不该变成结局不明。"""
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(own_directory())
        server, process = await stack.enter_async_context(own_postgres(directory))
        settings = load_settings({**environ, **QUICK, DATABASE: server.url})
        pool = await stack.enter_async_context(open_pool(settings.database, "test"))
        pipeline = await stack.enter_async_context(open_pipeline(settings, pool, grace=PATIENCE))
        (task_id,) = await pipeline.submit()
        await pipeline.forwarder.run_once()
        sent, stopped = asyncio.Event(), asyncio.Event()

        async def mailing(attempt: Attempt) -> Outcome:
            async with attempt.transaction() as connection:
                await attempt.declare_intent(connection)
            sent.set()
            await stopped.wait()
            return Done({"accepted": 1})

        execution = pipeline.execution(mailing)
        await stack.enter_async_context(beating(execution.leases))
        job = asyncio.create_task(execution({}, deliveries=[(str(task_id), 1)]))
        await asyncio.wait_for(sent.wait(), PATIENCE)
        pool.timeout = SHORT
        await stack.enter_async_context(relaying(pipeline))
        await process.stop()
        stopped.set()
        last = time.monotonic() + settings.worker.lease  # 停之前的最后一次续租，最远到这里
        await eventually(lambda: time.monotonic() > last)
        await process.start()
        await asyncio.wait_for(job, PATIENCE)
        async with await psycopg.AsyncConnection.connect(server.url) as connection:
            cursor = await connection.execute("select status from vw_task")
            assert await cursor.fetchone() == ("succeeded",)


# ---- 一行连累别的


async def expired(pipeline: Pipeline, count: int) -> list[UUID]:
    """同一个死去的 worker 手里的任务，租约刚刚到期。"""
    tasks = await pipeline.submit(count)
    await pipeline.forwarder.run_once()
    await pipeline.sql(HOLD, "dead", "-1 s", tasks)
    return tasks


@pytest.mark.unjudged("发件箱行是写出来的")
async def test_one_locked_outbox_row_does_not_hold_up_the_other_expired_leases(
    straight: Pipeline, database_url: str
) -> None:
    """relay 还拿着一行（等 Redis 等得久），它的任务已被认领、又丢了租约：别的任务照样收回。"""
    held, free = await expired(straight, 2)
    await straight.sql(
        "insert into tb_outbox (task_id, delivery, type, priority, principal) values (%s, 1, 'email:send', 1, 'p')",
        held,
    )
    async with await psycopg.AsyncConnection.connect(database_url) as relay:
        await relay.execute("select from tb_outbox where task_id = %s for update", (held,))
        await straight.leases_redrive.run_once()
        assert await straight.status(free) == "pending"
    await straight.leases_redrive.run_once()
    assert await straight.status(held) == "pending"


@pytest.mark.unjudged("连丢的租约是改出来的")
async def test_suspects_of_a_crash_do_not_all_come_back_at_once(straight: Pipeline) -> None:
    """毒信弄死进程，同在手里的都丢了租约；若又一齐回来，就一次次陪它死，五次之后都被当作毒丸。"""
    tasks = await expired(straight, 6)
    await straight.sql("update tb_task set lost_leases = 2")
    assert await straight.leases_redrive.run_once() == len(tasks)
    spread = "max(available_at) - min(available_at) > interval '0.1 s'"  # 凑巧都这么近的，十亿次里一次
    assert await straight.sql(f"select count(*), {spread} from tb_outbox") == [(len(tasks), True)]
