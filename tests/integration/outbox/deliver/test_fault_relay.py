"""relay 一侧的故障：晚提交、死在入队与标记之间、几个 relay 同抢、门铃断线、重投的放大（FAULTS.md 3–5、40、50）。"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from kaguan.config import load_settings
from kaguan.database.pool import Pool, open_pool
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.accept.acceptance import Submission, accept_one
from kaguan.outbox.accept.doorbell import listen
from kaguan.outbox.vocabulary import Priority
from kaguan.queues.keys import DOORBELL
from tests.support.eventually import PATIENCE, eventually
from tests.support.fault_plant import (
    EFFECT_TABLE,
    LASTING,
    QUICK,
    Effects,
    all_closed,
    child,
    effects,
    mail,
    only_kaguan,
    relaying,
)
from tests.support.pipeline import MAX_ATTEMPTS, Pipeline, duplicates, open_pipeline
from tests.support.records import Record

WRITERS = 8
PER_WRITER = 25
ROWS = 10_000
BATCH = 300
GATE = 4_242  # 咨询锁号：拿着它的人决定标记何时放行
BACKLOG = int(os.environ.get("KAGUAN_FAULT_BACKLOG", "300"))  # 长的那一场：50000
AMPLIFICATION = 1.15
POLL = 3.0  # 秒
NEVER = 5 * PATIENCE  # 秒：这么久才轮询一次，先交出的只能是听见了门铃


@pytest.fixture
async def pipeline(environ: dict[str, str], pool: Pool) -> AsyncIterator[Pipeline]:
    settings = load_settings({**environ, **QUICK, "KAGUAN_RELAY__HIGH_WATER": str(ROWS)})
    async with open_pipeline(settings, pool) as opened:
        yield opened


async def test_rows_that_commit_late_and_out_of_order_are_all_published(pipeline: Pipeline) -> None:
    """八个写的人，各自拖延、各有一成回滚：任务号小的后提交，一个也不许漏。"""
    source = random.Random(3)
    committed: set[UUID] = set()

    async def write() -> None:
        for _ in range(PER_WRITER):
            pause, doomed = source.uniform(0, 0.02), source.random() < 0.1
            url = pipeline.settings.database.url.get_secret_value()
            async with await psycopg.AsyncConnection.connect(url) as connection:
                accepted = await accept_one(connection, Submission(EMAIL_SEND, mail()), MAX_ATTEMPTS)
                await asyncio.sleep(pause)
                if doomed:
                    await connection.rollback()
                else:
                    await connection.commit()
                    committed.add(accepted.task_id)

    for guardian in ("lease", "presence", "epoch", "orphan"):
        del pipeline.relay.loops[guardian]
    async with relaying(pipeline):
        await asyncio.gather(*(write() for _ in range(WRITERS)))

        async def handed() -> bool:
            return await pipeline.sql("select count(*) from tb_outbox") == [(0,)]

        await eventually(handed)
    assert 0 < len(committed) < WRITERS * PER_WRITER
    queued = {row[0] for row in await pipeline.sql("select id from vw_task where status = 'queued'")}
    assert queued == committed


async def test_a_relay_killed_between_enqueue_and_mark_leaves_the_row_and_one_effect(
    pipeline: Pipeline, environ: dict[str, str], direct_url: str, tmp_path: Path
) -> None:
    await pipeline.sql(
        f"create function gate() returns trigger language plpgsql as"
        f" $$ begin perform pg_advisory_xact_lock_shared({GATE}); return old; end $$"
    )
    await pipeline.sql("create trigger gate before delete on tb_outbox for each row execute function gate()")
    await pipeline.sql(EFFECT_TABLE)
    (task_id,) = await pipeline.submit()
    given = {**only_kaguan(environ), **QUICK}

    async def enqueued() -> bool:
        return sum([await queue.count("incomplete") for queue in pipeline.queues.values()]) == 1

    async with await psycopg.AsyncConnection.connect(direct_url, autocommit=True) as holder:
        await holder.execute("select pg_advisory_lock(%s)", (GATE,))
        async with child("relay", given, tmp_path / "relay.log") as relay:
            await eventually(enqueued)
            await relay.kill()
        # 杀的时候标记正等在门口：它的事务随连接而去
        await holder.execute("select pg_advisory_unlock(%s)", (GATE,))
    assert await pipeline.status(task_id) == "pending"
    async with pipeline.working(Effects()):
        await eventually(lambda: all_closed(pipeline))
        async with relaying(pipeline):  # 做完了又交出一次
            await eventually(lambda: duplicates(pipeline) >= 1)
    assert await effects(pipeline) == (1, 1)


@pytest.mark.unjudged("一万个任务只看交出，不走完全程")
async def test_three_relays_hand_over_ten_thousand_rows_once_each_and_never_more_than_a_batch(
    environ: dict[str, str],
) -> None:
    settings = load_settings(
        {**environ, **QUICK, "KAGUAN_RELAY__HIGH_WATER": str(2 * ROWS), "KAGUAN_RELAY__BATCH_SIZE": str(BATCH)}
    )
    async with open_pool(settings.database, "test") as pool, open_pipeline(settings, pool) as pipeline:
        for _ in range(ROWS // 1_000):
            await pipeline.submit(1_000)
        sizes: list[int] = []

        async def forward(one: Pipeline) -> None:
            while size := await one.forwarder.run_once():
                sizes.append(size)

        async with open_pipeline(settings, pool) as second, open_pipeline(settings, pool) as third:
            await asyncio.gather(*(forward(one) for one in (pipeline, second, third)))
        while size := await pipeline.forwarder.run_once():
            sizes.append(size)
        assert sum(sizes) == ROWS
        assert max(sizes) <= BATCH
        assert await pipeline.sql("select status, count(*) from vw_task group by 1") == [("queued", ROWS)]
        assert await pipeline.sql("select count(*) from tb_outbox") == [(0,)]


async def test_a_lost_listener_costs_one_poll_and_comes_back(environ: dict[str, str], pool: Pool) -> None:
    """听铃的连接被收走：期间三秒一次的轮询交得出去；之后又听得见，再久才轮询一次也交得出去。"""
    heard = asyncio.Event()
    bells = [heard]

    def ring() -> None:
        for bell in bells:
            bell.set()

    async with AsyncExitStack() as stack:
        polling, listening = [
            await stack.enter_async_context(
                open_pipeline(load_settings({**environ, **QUICK, "KAGUAN_RELAY__POLL_INTERVAL": interval}), pool)
            )
            for interval in (f"{POLL:g}", f"{NEVER:g}")
        ]
        listener = asyncio.create_task(listen(polling.redis, ring))
        stack.push_async_callback(cancelled, listener)
        await eventually(heard.is_set)
        heard.clear()
        assert await polling.redis.client_kill_filter(_type="pubsub") >= 1
        async with relaying(polling):  # 没有人按铃
            await handed_over(polling)
            await handed_over(polling)  # 头一个也许碰上循环的第一遍
        await eventually(heard.is_set)  # 重连后先当作有铃
        async with relaying(listening) as bell:
            bells.append(bell)
            for _ in range(2):
                await handed_over(listening, rings=True)
        assert not listener.done()


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def handed_over(pipeline: Pipeline, *, rings: bool = False) -> None:
    (task_id,) = await pipeline.submit()
    if rings:
        await pipeline.redis.publish(DOORBELL, b"")

    async def queued() -> bool:
        return await pipeline.status(task_id) == "queued"

    await eventually(queued)


async def test_redrive_under_a_backlog_hardly_repeats_anything(
    environ: dict[str, str], pool: Pool, record_property: Record
) -> None:
    """队列里排得很长、做得很慢：等得久不等于丢了，重投不许雪上加霜。"""
    settings = load_settings(
        {
            **environ,
            **QUICK,
            **LASTING,
            "KAGUAN_RELAY__PRESENCE_AGE": "0.1",
            "KAGUAN_RELAY__BACKSTOP_AGE": "600",
            "KAGUAN_RELAY__HIGH_WATER": "100000",
            "KAGUAN_RELAY__IDS_PER_DELIVERY": "1",  # 同乘的一取走就都认领了，队列里排不起来
        }
    )
    async with open_pipeline(settings, pool) as pipeline:
        await pipeline.sql(EFFECT_TABLE)
        for _ in range(BACKLOG // 100):
            await pipeline.submit(100, Priority.CRITICAL)
        while await pipeline.forwarder.run_once():
            pass
        async with pipeline.working(Effects(0.02)), relaying(pipeline):
            await eventually(lambda: all_closed(pipeline))
        ((deliveries,),) = await pipeline.sql("select sum(delivery) from vw_task")
        record_property("投递 ÷ 任务", float(deliveries) / BACKLOG)
        assert deliveries / BACKLOG <= AMPLIFICATION
        assert await effects(pipeline) == (BACKLOG, BACKLOG)
