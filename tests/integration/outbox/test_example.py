"""别人的应用里的发件箱：自己的表、自己的任务类型，不必有卡管的库。"""

from __future__ import annotations

import ast
import asyncio
import os
import sys

import psycopg
import pytest

from kaguan import outbox
from kaguan.config import Settings
from kaguan.database.pool import Pool
from kaguan.outbox import Effect, Payload, TaskType
from kaguan.outbox.accept.acceptance import Submission, accept_one
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.relay import Relay
from kaguan.outbox.testing import Recorder
from kaguan.outbox.worker import Worker
from kaguan.queues.client import open_redis
from tests.support.eventually import PATIENCE
from tests.support.repository import ROOT

EXAMPLE = ROOT / "examples" / "outbox_in_your_app.py"
README = ROOT / "README.md"
LINES = 40
CORE = 15  # README 里的那几行


@pytest.mark.direct("库是现建的；经连接池，池子还连着从前的那个，删不掉")
async def test_the_example_commits_both_rows_and_writes_the_receipt_once(
    settings: Settings, empty_database: str
) -> None:
    environ = {
        **os.environ,
        "DATABASE_URL": empty_database,
        "REDIS_URL": settings.redis.url.get_secret_value(),
    }
    # 再跑一次：同一张订单，头一次的答复
    twice = "import runpy, sys\nfor _ in range(2): runpy.run_path(sys.argv[1], run_name='__main__')"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", twice, str(EXAMPLE), env=environ)
    assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    async with await psycopg.AsyncConnection.connect(
        empty_database, autocommit=True, options="-csearch_path=shop"
    ) as connection:
        cursor = await connection.execute("select order_id from receipt")
        assert await cursor.fetchall() == [(1,)]
        cursor = await connection.execute("select type, status, attempt, result from vw_task")
        assert await cursor.fetchall() == [("receipt:write", "succeeded", 1, {"order": 1})]


def test_the_example_is_short_knows_no_card_and_its_core_opens_the_readme() -> None:
    text = EXAMPLE.read_text("utf-8")
    code = [line for line in text.splitlines() if line.strip()]
    assert len(code) <= LINES
    assert "sim" not in text.lower().replace("simple", "")
    shown = README.read_text("utf-8").partition("```python\n")[2].partition("```")[0].strip().splitlines()
    assert 10 <= len(shown) <= CORE
    assert set(shown) <= set(text.splitlines())


async def test_the_library_alone_measures_no_card_no_mail_and_no_request(pool: Pool, settings: Settings) -> None:
    receipt = TaskType("receipt:write", Payload, Effect.REPEATABLE)
    metrics = Metrics([receipt.name])
    async with open_redis(settings.redis) as redis, pool.connection() as connection:
        relay = Relay(pool, redis, [receipt], metrics=metrics)
        worker = Worker(pool, redis, {receipt: Recorder()}, metrics=metrics)
        accepted = await accept_one(connection, Submission(receipt, Payload()), max_attempts=5)
        assert await relay.loops["forward"].run_once() == 1
        await worker.execution({}, deliveries=[(str(accepted.task_id), 1)])
        assert await relay.loops["backlog"].run_once() == 0
    values = metrics.registry.get_sample_value
    assert values("kaguan_tasks_relayed_total", {"type": "receipt:write", "queue": "default"}) == 1
    settled = {"type": "receipt:write", "queue": "default", "outcome": "succeeded"}
    assert values("kaguan_tasks_settled_total", settled) == 1
    names = {family.name for family in metrics.registry.collect()}
    assert [name for name in names for domain in ("smtp", "carrier", "sim", "http") if domain in name] == []


def test_the_example_takes_only_what_is_public() -> None:
    nodes = list(ast.walk(ast.parse(EXAMPLE.read_text("utf-8"))))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    ours = {(node.module, alias.name) for node in imports for alias in node.names if "kaguan" in str(node.module)}
    through = {node.attr for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "outbox"}
    assert not [node for node in nodes if isinstance(node, ast.Import) and "kaguan" in ast.unparse(node)]
    assert {module for module, _ in ours - {("kaguan", "outbox")}} == {outbox.__name__}
    assert through | {name for module, name in ours if module == outbox.__name__} <= set(outbox.__all__)


def test_every_public_name_is_there() -> None:
    assert [name for name in outbox.__all__ if getattr(outbox, name) is None] == []
