"""PostgreSQL 丢了尾巴，受理之外的那些：定时计划按 misfire 再来，幂等键是新的一份，会话没有了，吊销过的令牌又有效。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from kaguan.config import Settings
from kaguan.config.schedules import Misfire, Schedule
from kaguan.outbox.schedule.due import latest_until
from kaguan.outbox.schedule.service import Schedules
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.testing import Recorder
from kaguan.product.task_types import TASK_TYPES
from kaguan.tokens import service as tokens
from kaguan.tokens import store as token_store
from tests.support.console import visiting
from tests.support.eventually import eventually
from tests.support.fault_plant import all_closed, relaying
from tests.support.history import CUT_ALL, KEEP_ALL, PROMOTE
from tests.support.pipeline import MAX_ATTEMPTS, Pipeline, open_pipeline
from tests.support.serving import Api

DAY = {"sync_type": "usage", "start_date": "{today-1}", "end_date": "{today-1}"}
LATE = timedelta(minutes=20)
ANN = {"username": "ann", "email": "ann@example.com", "password": "correct horse"}
MAIL = {"to": ["a@example.com"], "subject": "s", "body": "b"}
KEY = {"Idempotency-Key": "mine"}


@pytest.fixture
async def pipeline(settings: Settings, api: Api) -> AsyncIterator[Pipeline]:
    """认过历史的一条流水线，与 ``api`` 同一个库。"""
    async with open_pipeline(settings, api.pool) as opened:
        await opened.epoch.run_once()
        await opened.epoch.run_once()
        yield opened


@asynccontextmanager
async def lost(pipeline: Pipeline) -> AsyncIterator[None]:
    """里面提交的都在丢了的尾巴里；离开时 relay 已核对完。"""
    async with pipeline.pool.connection() as connection:
        await connection.execute(KEEP_ALL)
    yield
    async with pipeline.pool.connection() as connection:
        await connection.execute(CUT_ALL)
        await connection.execute(PROMOTE)
    await pipeline.epoch.run_once()
    assert await pipeline.sql("select incarnation = pg_postmaster_start_time() from tb_broker") == [(True,)]


@pytest.mark.parametrize(("misfire", "again"), [(Misfire.SKIP, 0), (Misfire.ONCE, 1), (Misfire.ALL, 2)])
async def test_a_firing_that_was_lost_comes_again_by_its_policy_and_once_for_each_time(
    pipeline: Pipeline, misfire: Misfire, again: int
) -> None:
    """丢了的那次，投递还在 Redis 里：它不作数，也点得出名。"""
    cron = f"{(datetime.now(UTC) - LATE).minute} * * * *"
    hourly = Schedule.model_validate(
        {"name": "usage", "cron": cron, "type": "data:sync", "payload": DAY, "misfire": misfire}
    )

    async def fire(schedule: Schedule = hourly) -> list[tuple[str, Any]]:
        types = TaskTypes(TASK_TYPES)
        relays = [Schedules(pipeline.pool, [schedule], types, MAX_ATTEMPTS, pipeline.metrics) for _ in range(3)]
        await asyncio.gather(*(relay.run_once() for relay in relays for _ in range(2)))
        return await pipeline.sql("select request_id, id from vw_task order by request_id")

    assert await fire() == []  # 登记
    latest = latest_until(cron, hourly.zone, datetime.now(UTC))
    times = [f"schedule:usage:{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for at in (latest - timedelta(hours=1), latest)]
    await pipeline.sql("update tb_schedule set next_due_at = %s", latest - timedelta(hours=1))
    async with lost(pipeline):
        before = await fire(hourly.model_copy(update={"misfire": Misfire.ALL}))  # 那时都准时
        assert [request_id for request_id, _ in before] == times
        await pipeline.forwarder.run_once()
    after = await fire()
    assert [request_id for request_id, _ in after] == times[2 - again :]
    async with relaying(pipeline), pipeline.working(handler := Recorder()):
        await eventually(lambda: pipeline.sql("select request_id from tb_vanished"))
        await eventually(partial(all_closed, pipeline))
    assert [attempt.task_id for attempt in handler.attempts] == [task_id for _, task_id in after]
    assert await pipeline.sql("select request_id from tb_vanished") == [(times[0],)]  # 同一个计划的挨个来
    assert await fire() == after


@pytest.mark.parametrize(("path", "body", "table"), [("/users", ANN, "tb_user"), ("/tasks/email", MAIL, "tb_task")])
async def test_a_key_whose_answer_was_lost_is_answered_anew_once_and_then_replayed(
    api: Api, pipeline: Pipeline, path: str, body: dict[str, Any], table: str
) -> None:
    async with lost(pipeline):
        first = await api.call("POST", path, body, KEY)
    assert await api.rows(f"select count(*) from {table}") == [(0,)]
    replies = [await api.call("POST", path, body, KEY) for _ in range(3)]
    assert {reply.status for reply in (first, *replies)} == {first.status}
    assert first.status in {201, 202}
    assert ["Idempotency-Replayed" in reply.headers for reply in replies] == [False, True, True]
    assert replies[1].body == replies[2].body == replies[0].body != first.body
    assert await api.rows(f"select count(*) from {table}") == [(1,)]


async def test_a_session_that_was_lost_is_signed_out_and_a_token_revoked_in_the_tail_works_again(
    api: Api, pipeline: Pipeline
) -> None:
    async with api.pool.connection() as connection:
        revoked = (await tokens.create(connection, "operator", ["ops", "tasks:read"])).token
    bearer = {"Authorization": f"Bearer {revoked}"}

    async def status() -> int:
        return (await api.call("GET", "/tasks", headers=bearer)).status

    async def is_revoked() -> bool:
        """吊销的通知要到；没到的至多半秒。"""
        return await status() == 401

    async def revoke() -> None:
        async with api.pool.connection() as connection:
            assert await token_store.revoke(connection, "operator")

    async with visiting(api) as early, visiting(api) as late:
        assert (await early.log_in(revoked)).status == 303
        async with lost(pipeline):
            assert (await late.log_in(api.token)).status == 303
            assert (await late.get("/")).status == 200
            async with api.pool.connection() as connection:
                fresh = (await tokens.create(connection, "fresh", ["tasks:read"])).token
            await revoke()
            assert (await early.get("/")).status == 303
            await eventually(is_revoked)
        page = await late.get("/console/tasks")
        assert (page.status, page.location) == (303, "/console/login?next=%2Fconsole%2Ftasks")
        assert (await late.get("/console/live/overview")).status == 401
        assert ((await early.get("/")).status, await status()) == (200, 200)
        assert (await api.call("GET", "/tasks", headers={"Authorization": f"Bearer {fresh}"})).status == 401
        await revoke()
        assert (await early.get("/")).status == 303
        await eventually(is_revoked)
