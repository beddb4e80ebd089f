"""一种新任务从外面交进来：类型、载荷、效果、处理器都是这里的，源码一个字不改，真的 relay 与 worker 从受理做到结算。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from kaguan.config import load_settings
from kaguan.database.pool import Connection, Pool
from kaguan.outbox import Attempt, Done, Effect, Payload, TaskType, watch
from kaguan.outbox.accept.acceptance import Submission, accept_one
from kaguan.outbox.operate.record import events, find
from kaguan.outbox.operate.timeline import timeline
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.work.attempt import Handler
from kaguan.product.task_types import TASK_TYPES
from relay.__main__ import serve as serve_relay
from tests.support.carrier_world import rows
from tests.support.eventually import PATIENCE
from workers.__main__ import serve as serve_worker
from workers.registry import OPENERS, open_handlers
from workers.resources import Resources


class ReportPayload(Payload):
    title: str


REPORT = TaskType("report:build", ReportPayload, Effect.REPEATABLE, shareable=True, rows=("report",))
TYPES = TaskTypes([*TASK_TYPES, REPORT])
WEEKLY = Submission(REPORT, ReportPayload(title="weekly"), request_id="report-1")


async def build(attempt: Attempt[ReportPayload]) -> Done:
    title = attempt.payload.title

    async def effect(connection: Connection) -> None:  # 与结算同一事务
        await connection.execute("insert into report (task_id, title) values (%s, %s)", (attempt.task_id, title))

    return Done({"title": title}, effect)


@asynccontextmanager
async def open_report(_resources: Resources) -> AsyncIterator[Handler[Any]]:
    yield build


async def test_a_type_from_outside_goes_all_the_way_through_the_relay_and_the_worker(
    environ: dict[str, str], pool: Pool
) -> None:
    settings = load_settings({**environ, "KAGUAN_SMTP__URL": "smtp://127.0.0.1:1"})  # 邮件的处理器也打开，没人用它
    stop = asyncio.Event()
    opened = partial(open_handlers, openers={**OPENERS, REPORT.name: open_report})
    async with pool.connection() as connection:
        await connection.execute("create table report (task_id uuid not null, title text not null)")
        accepted = await accept_one(connection, WEEKLY, max_attempts=2)
        async with asyncio.TaskGroup() as group:
            group.create_task(serve_relay(settings, stop, TYPES))
            group.create_task(serve_worker(settings, stop, TYPES, opened))
            await watch(connection, [accepted.task_id], PATIENCE, lambda _seen: None)
            again = await accept_one(connection, WEEKLY, max_attempts=2)
            stop.set()
        record, happened = await find(connection, accepted.task_id), await events(connection, accepted.task_id)
    assert (again.task_id, again.replayed) == (accepted.task_id, True)
    assert await rows(pool, "select task_id, title from report") == [(accepted.task_id, "weekly")]
    assert record is not None
    assert (record.type, record.status, record.attempt, record.result) == (
        "report:build",
        "succeeded",
        1,
        {"title": "weekly"},
    )
    assert [stage["stage"] for stage in timeline(record, happened)] == ["accepted", "queued", "started", "succeeded"]
