"""要一个 worker 收工：不再取件，做完手里的就走，另起的接着做；说两遍是一遍，Redis 丢了也还在，别的不受牵连。"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kaguan.config import Settings
from kaguan.config.model import Database
from kaguan.database.pool import Pool, at_once
from kaguan.dev.program import Program
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox import Attempt, Done, Outbox, Payload
from kaguan.outbox.accept.acceptance import Submission, accept_one
from kaguan.outbox.errors import WorkerNotFoundError
from kaguan.outbox.operate.drains import Drain, drain
from kaguan.outbox.vocabulary import LimitScope
from kaguan.outbox.work.overrides import Overrides
from kaguan.presence.beat import Presence
from kaguan.presence.census import take_census
from kaguan.queues.client import open_redis
from kaguan.verdict import service
from tests.support.apart import done, running
from tests.support.eventually import PATIENCE, UNHURRIED, eventually
from tests.support.fault_plant import EFFECT_TABLE, LASTING, QUICK, effects, mail, only_kaguan, relaying
from tests.support.pipeline import MAX_ATTEMPTS, Held, Pipeline, open_pipeline
from tests.support.repository import ROOT
from tests.support.supervision import pid_of, supervised

WHY = "leaks memory"
LEFT_BEHIND = "收工的那一行没有带走"  # 停机只等一秒：停顿得更久的带不走，说一声


@pytest.fixture
async def pipeline(settings: Settings, pool: Pool) -> AsyncIterator[Pipeline]:
    async with open_pipeline(settings, pool) as opened:
        yield opened


async def drained(pipeline: Pipeline, name: str, why: str = WHY, actor: str = "ann") -> Drain:
    census = await take_census(pipeline.redis)
    async with pipeline.pool.connection() as connection:
        return await drain(connection, census, name, why, actor, at_once)


async def nobody_fetches(pipeline: Pipeline) -> bool:
    return all("b" not in client["flags"] for client in await pipeline.redis.client_list())


async def there(pipeline: Pipeline, name: str) -> None:
    await Presence(pipeline.redis, "worker", name).run_once()


async def test_a_drained_process_ends_what_runs_takes_nothing_new_and_its_heir_does_the_rest(
    environ: dict[str, str], pipeline: Pipeline, tmp_path: Path
) -> None:
    """真的进程，真的监督者。在跑的等一个文件：收工的话到了才给。不耗尝试，判断不说是意外退出。"""
    await pipeline.sql(EFFECT_TABLE)
    gate = tmp_path / "gate"
    argv = (sys.executable, "-m", "tests.support.fault_worker")
    worker = Program("worker", argv, ROOT, environment={**only_kaguan(environ), **QUICK, **LASTING})

    async def submitted(script: str) -> bool:
        async with pipeline.pool.connection() as connection:
            accepted = await accept_one(connection, Submission(EMAIL_SEND, mail(script)), MAX_ATTEMPTS)
        ids.append(accepted.task_id)
        return True

    async def has(status: str, count: int) -> bool:
        found = await pipeline.sql("select count(*) from vw_task where status = %s", status)
        return found == [(count,)]

    ids: list[object] = []
    async with relaying(pipeline), supervised(tmp_path, worker) as (_, output):
        first = pid_of(tmp_path, "worker")
        await submitted(f"gate:{gate}")
        await eventually(lambda: has("running", 1))
        [(name,)] = await pipeline.sql("select worker from tb_work")
        await drained(pipeline, name)
        await eventually(lambda: "停止取件，等待正在执行的任务" in output.getvalue())
        await eventually(lambda: nobody_fetches(pipeline))  # 要它收工时正在取的，取来了也算手里的
        for _ in range(3):
            await submitted("quick")
        await eventually(lambda: has("queued", 3))
        assert pid_of(tmp_path, "worker") == first
        gate.touch()
        await eventually(lambda: has("succeeded", 4))
        assert pid_of(tmp_path, "worker") not in {0, first}
        text = output.getvalue()
        _, verdict = await service.take(pipeline.pool.connection, pipeline.redis, pipeline.settings, UNHURRIED)
    old, _, new = text.partition("进程停止")
    assert (old.count("任务完成"), new.count("任务完成") > 0) == (1, True)
    assert ("ann" in old, WHY in old) == (True, True)
    assert {str(one.code) for one in verdict.concerns} & {"restarts", "quiet"} == set()
    assert await effects(pipeline) == (4, 4)
    assert await pipeline.sql("select max(attempt), max(delivery) from vw_task") == [(1, 1)]
    assert await pipeline.sql("select count(*) from tb_drain") == [(0,)] or LEFT_BEHIND in old


async def test_a_drain_is_one_however_often_and_wherever_redis_is_and_for_one_worker_alone(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """在跑的做完；旁边的那个、同一行之后另起的，都不受牵连；走了的带走那一行。"""
    held = Held()
    worker, stop = pipeline.worker(held), asyncio.Event()
    run = asyncio.create_task(worker.run(stop))
    async with running(pipeline):
        ids = await pipeline.submit(1)
        await eventually(held.started.is_set)
        first = await drained(pipeline, "worker-a")
        assert await drained(pipeline, "worker-a", "again", "bob") == first
        await pipeline.redis.flushdb()
        await eventually(stop.is_set)
        assert not await is_drained(pipeline, "worker-b")
        held.released.set()
        await asyncio.wait_for(run, PATIENCE)
        assert await done(pipeline, ids)
    assert await pipeline.sql("select count(*) from tb_drain") == [(0,)] or LEFT_BEHIND in caplog.text
    assert not await is_drained(pipeline, "worker-a-again")


async def is_drained(pipeline: Pipeline, name: str) -> bool:
    overrides = Overrides(pipeline.pool, name)
    await overrides.of(LimitScope.TYPE)
    return overrides.is_drained


async def test_who_is_not_there_is_refused_with_those_who_are(pipeline: Pipeline) -> None:
    await there(pipeline, "worker-b")
    with pytest.raises(WorkerNotFoundError, match="worker-b"):
        await drained(pipeline, "worker-a")
    async with pipeline.pool.connection() as connection:
        with pytest.raises(WorkerNotFoundError, match="Redis"):
            await drain(connection, None, "worker-b", WHY, "ann", at_once)
    assert await pipeline.sql("select count(*) from tb_drain") == [(0,)]


async def test_the_rows_of_workers_that_were_killed_first_are_cleared_after_a_day(pipeline: Pipeline) -> None:
    for name in ("old", "new"):
        await there(pipeline, name)
    await drained(pipeline, "old")
    await pipeline.sql("update tb_drain set created_at = created_at - interval '2 days'")
    await drained(pipeline, "new")
    assert await pipeline.sql("select worker from tb_drain") == [("new",)]


async def test_a_guests_drained_worker_is_followed_by_another_in_the_same_process(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """应用的进程不归我们结束：收了工，就地另起一个。"""
    shop = Outbox("shop", database=settings.database, redis=settings.redis)
    await shop.install()
    started, released = asyncio.Event(), asyncio.Event()

    @shop.task("parcel:send", Payload)
    async def send(_attempt: Attempt[Payload]) -> Done:
        started.set()
        await released.wait()
        return Done()

    async def count(statement: str) -> int:
        async with shop.pool.connection() as connection:
            [(found,)] = await (await connection.execute(statement.encode())).fetchall()
        return int(found)

    async def ended(number: int) -> bool:
        return await count("select count(*) from vw_task where status = 'succeeded'") == number

    async def over() -> bool:
        return await count("select count(*) from tb_drain") == 0 or LEFT_BEHIND in caplog.text

    async with (
        shop.running(),
        open_redis(
            settings.redis, namespace=Database(url=settings.database.url, schema_name="shop").namespace
        ) as redis,
    ):
        async with shop.transaction() as tx:
            await send.accept(tx, Payload())
        await asyncio.wait_for(started.wait(), PATIENCE)

        async def there() -> bool:
            return bool((await take_census(redis)).of("worker"))

        await eventually(there)
        census = await take_census(redis)
        [worker] = census.of("worker")
        async with shop.pool.connection() as connection:
            await drain(connection, census, worker.name, WHY, "ann", at_once)
        released.set()
        await eventually(lambda: ended(1))
        await eventually(over)
        async with shop.transaction() as tx:
            await send.accept(tx, Payload())
        await eventually(lambda: ended(2))
