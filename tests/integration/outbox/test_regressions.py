"""战役（tests/chaos）打破过的承诺，各缩成一个用例；修好的不许再坏。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from kaguan.config import Settings, load_settings
from kaguan.database.engine import engine_on
from kaguan.database.pool import Pool, open_pool
from kaguan.outbox.loop import run
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Done, Outcome
from tests.support.eventually import eventually
from tests.support.pipeline import Pipeline, open_pipeline

IDLE_IN_TRANSACTION = 0.2  # 秒
REDIS_STALL = 800  # 毫秒：比上面长


@pytest.fixture
async def pipeline(environ: dict[str, str], pool: Pool) -> AsyncIterator[Pipeline]:
    async with open_pipeline(load_settings(environ), pool) as opened:
        yield opened


async def test_relay_outlives_a_session_that_postgresql_ended_while_redis_stalled(environ: dict[str, str]) -> None:
    """转交的事务在等 Redis 时被服务器以 idle-in-transaction 收走：psycopg 归它为 InternalError，relay 曾因此退出。"""
    key = "KAGUAN_DATABASE__IDLE_IN_TRANSACTION_TIMEOUT"
    settings = load_settings({**environ, key: str(IDLE_IN_TRANSACTION)})
    stop = asyncio.Event()
    async with open_pool(settings.database, "relay") as pool, open_pipeline(settings, pool) as pipeline:
        (task_id,) = await pipeline.submit()
        await pipeline.redis.client_pause(REDIS_STALL, all=False)  # 只停写：入队脚本卡住
        loop = asyncio.create_task(run("forward", pipeline.forwarder.run_once, interval=0.1, backoff_max=1, stop=stop))

        async def handed_over() -> bool:
            return loop.done() or await pipeline.status(task_id) == "queued"

        await eventually(handed_over)
        stop.set()
        await loop
        assert await pipeline.status(task_id) == "queued"


async def test_pool_gets_back_every_connection_that_died_in_the_hands_of_sqlalchemy(settings: Settings) -> None:
    """PostgreSQL 重启几次之后，API 曾永远回 503：断了的连接没有还给池，名额只减不增。"""
    async with open_pool(settings.database, "api") as pool:
        engine = engine_on(pool)
        for _ in range(settings.database.pool_max + 2):
            with pytest.raises(DBAPIError):
                async with engine.connect() as connection:
                    await connection.execute(text("select pg_terminate_backend(pg_backend_pid())"))
        async with engine.connect() as connection:
            assert (await connection.execute(text("select 1"))).scalar() == 1
        await engine.dispose()


async def test_intent_that_was_never_committed_does_not_make_the_task_uncertain(pipeline: Pipeline) -> None:
    """记意向的事务自己失败了：还什么都没寄，是重试，不是结局不明。"""
    (task_id,) = await pipeline.submit()

    class Cut:
        async def __call__(self, attempt: Attempt) -> Outcome:
            async with attempt.transaction() as connection:
                await attempt.declare_intent(connection)
                await connection.execute("select pg_terminate_backend(pg_backend_pid())")
            return Done()

    await pipeline.forwarder.run_once()
    await pipeline.execution(Cut())({}, deliveries=[(str(task_id), 1)])
    assert await pipeline.status(task_id) == "retrying"
