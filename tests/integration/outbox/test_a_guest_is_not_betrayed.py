"""库的门口：用错的当场拒绝，回滚了的什么也不留，重复不得的没有记意向就不当作成功。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import product
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from kaguan.config import Settings
from kaguan.database.pool import Pool
from kaguan.outbox import Attempt, Done, Effect, NotHappened, Outcome, Payload, TaskType, Unknown
from kaguan.outbox.accept.acceptance import Submission, accept_one
from kaguan.outbox.testing import Recorder
from kaguan.outbox.work.attempt import Handler
from kaguan.outbox.work.verification import Verified
from kaguan.outbox.worker import Worker
from tests.support.pipeline import Pipeline, open_pipeline
from tests.support.said import capture_logs

WORK = TaskType("shop:work", Payload, Effect.REPEATABLE)
CHARGE = TaskType("shop:charge", Payload, Effect.ONCE, Unknown.HOLD)
KEYS = (None, "customer 7")


class RolledBackError(Exception):
    pass


@pytest.fixture
async def pipeline(settings: Settings, pool: Pool) -> AsyncIterator[Pipeline]:
    async with open_pipeline(settings, pool) as opened:
        yield opened


# ---- 受理随谁的事务


async def count(pipeline: Pipeline) -> int:
    ((found,),) = await pipeline.sql("select count(*)::int from tb_task")
    return int(found)


async def test_a_session_that_rolls_back_leaves_no_task_though_accepting_was_its_first_statement(
    pipeline: Pipeline, settings: Settings
) -> None:
    url = settings.database.url.get_secret_value().replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_async_engine(url)
    try:
        for done, ordering_key in enumerate(KEYS):
            for kept in (False, True):
                try:
                    async with AsyncSession(engine) as session, session.begin():
                        raw = (await (await session.connection()).get_raw_connection()).driver_connection
                        await accept_one(raw, Submission(WORK, Payload(), ordering_key=ordering_key), 5)  # type: ignore[arg-type] # 驱动的连接 SQLAlchemy 没有标类型
                        if not kept:
                            raise RolledBackError  # noqa: TRY301 要它回滚
                except RolledBackError:
                    assert await count(pipeline) == done
            assert await count(pipeline) == done + 1
    finally:
        await engine.dispose()


async def test_a_transaction_of_psycopg_decides_in_every_mode(pipeline: Pipeline, settings: Settings) -> None:
    """回滚了的既没有任务，也没有日志；不在事务里的自动提交，自成一次提交。"""
    url = settings.database.url.get_secret_value()
    for done, (autocommit, statement, key) in enumerate(product((False, True), (b"", b"select 1"), KEYS)):
        work = Submission(WORK, Payload(), ordering_key=key)
        async with await psycopg.AsyncConnection.connect(url, autocommit=autocommit) as connection:
            with capture_logs() as logs:
                if autocommit:
                    await connection.execute("begin")
                if statement:
                    await connection.execute(statement)
                await accept_one(connection, work, 5)
                await connection.execute("rollback")
            assert (await count(pipeline), logs) == (done, [])
            with capture_logs() as logs:
                await accept_one(connection, work, 5)
                if not autocommit:
                    await connection.commit()
            assert (await count(pipeline), len(logs)) == (done + 1, int(autocommit))


async def test_a_connection_that_cannot_await_is_refused_in_words(settings: Settings) -> None:
    with (
        psycopg.connect(settings.database.url.get_secret_value()) as connection,
        pytest.raises(TypeError, match="AsyncConnection"),
    ):
        await accept_one(connection, Submission(WORK, Payload()), 5)  # type: ignore[arg-type] # 正是要它拒绝


# ---- 处理器


async def ended(pipeline: Pipeline, handler: Handler[Any], task_type: TaskType[Any]) -> UUID:
    """受理一个，真的 worker 的零件做一遍。"""
    worker = Worker(pipeline.pool, pipeline.redis, {task_type: handler}, pipeline.settings.worker)
    async with pipeline.pool.connection() as connection:
        accepted = await accept_one(connection, Submission(task_type, Payload()), 5)
    await worker.execution({}, deliveries=[(str(accepted.task_id), 1)])
    return accepted.task_id


async def nothing(_attempt: Attempt) -> Any:
    return None


async def forgetful(_attempt: Attempt) -> Outcome:
    return Done()


async def breaking(_attempt: Attempt) -> Outcome:
    raise TimeoutError


async def careful(attempt: Attempt) -> Outcome:
    async with attempt.once():
        pass  # 叫外面
    return Done()


async def careful_and_breaking(attempt: Attempt) -> Outcome:
    async with attempt.once():
        raise TimeoutError


async def idle(attempt: Attempt) -> Outcome:
    attempt.call_nobody()
    return Done()


async def asking_ours(attempt: Attempt) -> Outcome:
    async with attempt.pool.connection() as connection:
        await connection.execute("select 1 / 0")
    return Done()


FORGETFUL: tuple[tuple[TaskType[Any], Handler[Any], str, str | None], ...] = (
    (WORK, nothing, "failed", "outbox.no_outcome"),
    (CHARGE, nothing, "uncertain", "outbox.no_outcome"),
    (CHARGE, forgetful, "uncertain", "outbox.undeclared"),
    (CHARGE, breaking, "uncertain", "outbox.undeclared"),
    (CHARGE, careful_and_breaking, "uncertain", "outbox.unexpected"),
    (CHARGE, careful, "succeeded", None),
    (CHARGE, idle, "succeeded", None),
    (CHARGE, asking_ours, "retrying", "outbox.unexpected"),
    (WORK, breaking, "retrying", "outbox.unexpected"),
)


@pytest.mark.unjudged("处理器有意违约")
async def test_what_a_handler_forgets_ends_at_its_first_run_and_never_repeats_an_outside_call(
    pipeline: Pipeline,
) -> None:
    for task_type, handler, status, code in FORGETFUL:
        task = await pipeline.task(await ended(pipeline, handler, task_type))
        reason = None if task.last_error is None else task.last_error["code"]
        assert (task.status, task.attempt, reason) == (status, 1, code), handler


async def test_a_type_that_says_verify_demands_its_verify_at_once(pipeline: Pipeline) -> None:
    async def verify(_attempt: Attempt) -> NotHappened:
        return NotHappened()

    verifying = replace(CHARGE, unknown=Unknown.VERIFY)
    for task_type, handler in ((verifying, Recorder()), (CHARGE, Verified(Recorder(), verify, resend=False))):
        with pytest.raises(ValueError, match="shop:charge"):
            Worker(pipeline.pool, None, {task_type: handler})
    Worker(pipeline.pool, None, {verifying: Verified(Recorder(), verify, resend=False)})
    with pytest.raises(TypeError, match="shop:work"):
        Worker(pipeline.pool, None, {WORK: None})  # type: ignore[dict-item] # 正是要它拒绝
