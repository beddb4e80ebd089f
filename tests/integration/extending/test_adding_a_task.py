"""加一种任务：类型对象、处理器、两处登记各一行；从受理到结算全走真的 relay 与 worker，不要迁移，控制台也不倒。"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from api.console.formatting import Formatter
from api.console.texts import Translator
from kaguan.config import load_settings
from kaguan.outbox.acceptance import Submission, accept
from kaguan.outbox.relay.relay import Relay
from kaguan.outbox.task_type import Effect, Payload, TaskType, TaskTypes
from kaguan.outbox.worker.outcome import Done
from kaguan.outbox.worker.worker import Worker
from kaguan.queues.client import open_redis
from kaguan.task_types import TASK_TYPES
from kaguan.telemetry.metrics import Metrics
from kaguan.zones import BUSINESS_ZONE
from tests.support.carrier_world import rows
from tests.support.eventually import eventually
from workers.registry import OPENERS, open_handlers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kaguan.database.pool import Pool
    from kaguan.outbox.worker.attempt import Attempt, Handler
    from kaguan.outbox.worker.outcome import Outcome
    from workers.resources import Resources

GUIDE = Path(__file__).parents[3] / "docs" / "002-sqlalchemy-postgres-saq" / "使用指南.md"
EDITED = ("src/kaguan/task_types.py", "src/workers/registry.py", "tests/golden/report_build.v1.json")


class ReportPayload(Payload):
    title: str


REPORT_BUILD = TaskType("report:build", ReportPayload, Effect.REPEATABLE, shareable=True)


async def build(attempt: Attempt) -> Outcome:
    return Done({"title": attempt.read(ReportPayload).title})


@asynccontextmanager
async def open_report(_resources: Resources) -> AsyncIterator[Handler]:
    yield build


async def test_a_type_added_by_the_guide_runs_through_without_a_migration(environ: dict[str, str], pool: Pool) -> None:
    settings = load_settings({**environ, "KAGUAN_SMTP__URL": "smtp://127.0.0.1:1"})
    section = GUIDE.read_text("utf-8").partition("## 加一种任务")[2].partition("\n## ")[0]
    assert [name for name in EDITED if f"`{name}`" not in section] == []
    types = TaskTypes([*TASK_TYPES, REPORT_BUILD])
    openers = {**OPENERS, REPORT_BUILD.name: open_report}
    stop = asyncio.Event()
    async with (
        open_redis(settings.redis, 60) as redis,
        open_handlers(settings, redis, Metrics(types), types, openers) as handlers,
    ):
        async with pool.connection() as connection:
            for title in ("weekly", "monthly"):
                await accept(connection, Submission(REPORT_BUILD, ReportPayload(title=title)), max_attempts=2)
        running = [
            asyncio.create_task(Relay(pool, redis, types.values(), settings.relay).run(stop)),
            asyncio.create_task(Worker(pool, redis, handlers, settings.worker).run(stop)),
        ]

        async def done() -> bool:
            return await rows(pool, "select count(*) from tb_task where status = 'succeeded'") == [(2,)]

        await eventually(done)
        stop.set()
        await asyncio.gather(*running)
    assert await rows(pool, "select type, result->>'title' from tb_task order by id") == [
        ("report:build", "weekly"),
        ("report:build", "monthly"),
    ]
    assert Formatter(Translator("en"), BUSINESS_ZONE).word("type", REPORT_BUILD.name) == "report:build"


@pytest.mark.parametrize("name", ["report", "Report:build", "report:", "report:build ", f"report:{'x' * 64}"])
async def test_a_malformed_type_is_refused_by_the_database(pool: Pool, name: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="ck_tb_task_type"):
        await rows(
            pool,
            "insert into tb_task (id, type, queue, principal, payload, max_attempts)"
            " values (gen_random_uuid(), %s, 'default', 'test', '{}', 1) returning 1",
            name,
        )
