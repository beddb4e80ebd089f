"""照使用指南「加一种任务」在源码的副本里加一种，受理一个、做完：不要迁移，控制台也不倒。"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.carrier_world import rows

if TYPE_CHECKING:
    from kaguan.database.pool import Pool

CHECKOUT = Path(__file__).parents[2]
GUIDE = CHECKOUT / "docs" / "002-sqlalchemy-postgres-saq" / "使用指南.md"
TIMEOUT = 60  # 秒
HANDLER = """
from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from kaguan.tasks.payloads import ReportPayload
from kaguan.outbox.worker.outcome import Done, Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kaguan.outbox.worker.attempt import Attempt, Handler
    from workers.resources import Resources


async def build(attempt: Attempt) -> Outcome:
    return Done({"title": attempt.read(ReportPayload).title})


@asynccontextmanager
async def open_report(resources: Resources) -> AsyncIterator[Handler]:
    yield build
"""
# 指南的第 1、2、4 步：文件 → (在哪一行之前, 加上什么)
LINES = {
    "src/kaguan/outbox/vocabulary.py": [("def complete(", '    REPORT_BUILD = "report:build"\n\n\n')],
    "src/kaguan/tasks/payloads.py": [
        ("AnyPayload: TypeAlias", "class ReportPayload(Payload):\n    title: str\n\n\n"),
        ("}\ncomplete(PAYLOADS", "    TaskType.REPORT_BUILD: ReportPayload,\n"),
    ],
    "src/workers/registry.py": [
        ("from workers.resources", "from workers.report.handler import open_report\n"),
        ("}\ncomplete(OPENERS", "    TaskType.REPORT_BUILD: open_report,\n"),
    ],
}
USE = """
import asyncio

from api.console.formatting import Formatter
from api.console.texts import Translator
from kaguan.config import load_settings
from kaguan.database.pool import open_pool
from kaguan.queues.client import open_redis
from kaguan.outbox.vocabulary import TaskType
from kaguan.tasks.payloads import ReportPayload
from kaguan.outbox.accept import Submission, accept
from kaguan.telemetry.metrics import Metrics
from workers.registry import open_handlers
from kaguan.outbox.testing import drain


async def main() -> None:
    settings = load_settings()
    async with (
        open_pool(settings.database, "test") as pool,
        open_redis(settings.redis) as redis,
        open_handlers(settings, redis, Metrics()) as handlers,
    ):
        async with pool.connection() as connection:
            await accept(connection, Submission(TaskType.REPORT_BUILD, ReportPayload(title="weekly")), max_attempts=2)
        counts = await drain(pool, settings, handlers)
    print(dict(counts), Formatter(Translator("en")).word("type", TaskType.REPORT_BUILD))


asyncio.run(main())
"""


def grown(source: Path) -> Path:
    """源码的副本，多一种任务。"""
    shutil.copytree(CHECKOUT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CHECKOUT / "configs", source.parent / "configs")
    for name, additions in LINES.items():
        path = source.parent / name
        text = path.read_text("utf-8")
        for before, line in additions:
            assert text.count(before) == 1, before
            text = text.replace(before, line + before)
        path.write_text(text, "utf-8")
    handler = source / "workers" / "report" / "handler.py"
    handler.parent.mkdir()
    handler.write_text(HANDLER, "utf-8")
    return source


async def test_a_type_added_by_the_guide_runs_through_without_a_migration(
    environ: dict[str, str], pool: Pool, tmp_path: Path
) -> None:
    section = GUIDE.read_text("utf-8").partition("## 加一种任务")[2].partition("\n## ")[0]
    for name in (*LINES, "src/workers/report/handler.py"):
        assert f"`{name}`" in section
    source = grown(tmp_path / "src")
    # 抄出来的源码不算进覆盖率
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", USE],
        env={**inherited, **environ, "KAGUAN_SMTP__URL": "smtp://127.0.0.1:1", "PYTHONPATH": str(source)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "{'succeeded': 1} report:build"
    assert await rows(pool, "select type, status, result from tb_task") == [
        ("report:build", "succeeded", {"title": "weekly"})
    ]


@pytest.mark.parametrize("name", ["report", "Report:build", "report:", "report:build ", f"report:{'x' * 64}"])
async def test_a_malformed_type_is_refused_by_the_database(pool: Pool, name: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="ck_tb_task_type"):
        await rows(
            pool,
            "insert into tb_task (id, type, queue, principal, payload, max_attempts)"
            " values (gen_random_uuid(), %s, 'default', 'test', '{}', 1) returning 1",
            name,
        )
