"""别人拿着旧快照，死行清不掉：取件、认领、结算、看护、清理都不走它们（docs/adr/0028）。数块，不看时间。"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from kaguan.config import load_settings
from kaguan.database.pool import open_pool
from kaguan.dev.postgres import PostgresServer
from kaguan.outbox.deliver.deliveries import LATE_COMMIT
from kaguan.outbox.operate.retention import Retention
from kaguan.outbox.recover.redrive import ORPHAN_PAGE
from kaguan.outbox.testing import Recorder
from kaguan.outbox.work.outcome import Done, Retry
from tests.integration.database.plans.large_database import copy_of_template
from tests.integration.database.plans.plans import Plans
from tests.support.pipeline import Pipeline, open_pipeline
from tests.support.servers import TEMPLATE
from tests.support.statements import STATEMENTS

DEAD = 20_000  # 下面的语句里写着
SELDOM = 1e9
FEW, MANY = 100, 200  # 块
EVERYTHING = "vacuum analyze"
FINISHED = """
    insert into tb_task (id, type, queue, principal, payload, max_attempts, status, finished_at)
    select uuidv7(), 'email:send', 'default', 'p', '{}', 6, 'succeeded', now() from generate_series(1, 20000)
"""
# 受理、交出、认领、做完：每一步都在各个索引里留下一个死的
LIVED = (
    """
    with accepted as (
        insert into tb_task (id, type, queue, principal, payload, max_attempts)
        select uuidv7(), 'email:send', 'default', 'system', '{}', 6 from generate_series(1, 20000)
        returning id
    )
    insert into tb_outbox (task_id, delivery, type, priority, principal)
    select id, 1, 'email:send', 1, 'system' from accepted
    """,
    """
    with gone as (delete from tb_outbox returning task_id)
    insert into tb_work (task_id, delivery, priority, queued_at)
    select task_id, 1, 1, now() - interval '1 hour' from gone
    """,
    """
    update tb_work
    set claim_id = gen_random_uuid(), attempt = 1, worker = 'w', lease_until = now() - interval '1 hour'
    """,
    """
    with done as (delete from tb_work returning task_id)
    update tb_task
    set status = 'succeeded',
        created_at = now() - interval '402 days',
        finished_at = now() - interval '400 days' - random() * interval '1 day'
    from done where id = done.task_id
    """,
)
BY_KEY = {"place"}  # 只给人看的一条：走键的索引；表几乎空着时规划器也许挑了排着的那个
PARAMETER = re.compile(r"%\((\w+)\)s")
TASKS = re.compile(r"\b(tb_task|tb_work|vw_task)\b")
LIVE = re.compile(r"ix_tb_(task_in_line|work_(handed|leased))\b")


def test_a_statement_given_ids_finds_them_by_primary_key(database_url: str) -> None:
    """活着的寥寥、索引几乎是空的：规划器偏爱走尽那个部分索引，而里面可以满是清不掉的死行。"""
    walking: dict[str, str] = {}
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(FINISHED)
        connection.execute(EVERYTHING)
        for path, text in STATEMENTS.items():
            if (
                "outbox" not in path.parts
                or not re.search(r"%\(task_ids?\)s", text)
                or not TASKS.search(text)
                or path.stem in BY_KEY
            ):
                continue
            names = list(dict.fromkeys(PARAMETER.findall(text)))
            numbered = PARAMETER.sub(lambda match, names=names: f"${names.index(match[1]) + 1}", text)  # type: ignore[misc]
            plan = connection.execute(f"explain (generic_plan) {numbered}".encode()).fetchall()
            if found := [line for (line,) in plan if LIVE.search(line)]:
                walking[path.stem] = found[0]
    assert walking == {}


@pytest.fixture(scope="module")
def pinned_database(postgres_server: PostgresServer, admin: psycopg.Connection) -> Iterator[str]:
    """两万个做完的任务，身后的死行一个也清不掉：有人一直拿着它们之前的快照。"""
    with copy_of_template(admin, TEMPLATE, "test_pinned") as name:
        url = postgres_server.url_of(name)
        with psycopg.connect(url) as reader, psycopg.connect(url, autocommit=True) as writer:
            reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            reader.execute("select from vw_task limit 1")
            for statement in LIVED:
                writer.execute(statement.encode())
            writer.execute(EVERYTHING)
            yield url


@asynccontextmanager
async def opened(environ: dict[str, str], url: str, thrift: float) -> AsyncIterator[tuple[Pipeline, Plans]]:
    """一套零件，只有一条连接；看得见它的每个计划。"""
    settings = load_settings(
        {
            **environ,
            "KAGUAN_DATABASE__URL": url,
            "KAGUAN_DATABASE__POOL_MAX": "1",
            "KAGUAN_RELAY__PRESENCE_AGE": "0.000001",
        }
    )
    async with (
        open_pool(settings.database, "test", planned_once=True) as pool,
        open_pipeline(settings, pool, thrift) as pipeline,
    ):
        pipeline.forwarder.line.late_commit = LATE_COMMIT
        plans = Plans()
        async with pool.connection() as connection:
            connection.add_notice_handler(plans.note)
        yield pipeline, plans


async def walk(pipeline: Pipeline, plans: Plans) -> dict[str, int]:
    """一个任务从受理到做完、又一个丢了重投，每一步碰了几块。"""
    touched: dict[str, int] = {}

    async def step(name: str, work: Callable[[], Awaitable[object]]) -> None:
        plans.seen.clear()
        await work()
        touched[name] = plans.take_blocks() if plans.seen else 0

    task_ids = await pipeline.submit(2)
    await step("fetch", pipeline.forwarder.run_once)
    await step("fetch nothing", pipeline.forwarder.run_once)
    execution = pipeline.execution(Recorder([Retry("稍后", 60.0), Done({})]))
    for task_id in task_ids:
        await step("claim and settle", lambda task_id=task_id: execution({}, deliveries=[(str(task_id), 1)]))  # type: ignore[misc]
    await step("presence", pipeline.presence.run_once)
    await step("leases", pipeline.leases_redrive.run_once)
    await step("orphans", pipeline.orphans.run_once)
    (forgotten,) = await pipeline.submit(1)
    await pipeline.forwarder.run_once()
    await pipeline.redis.flushdb()
    await step("re-drive", pipeline.presence.run_once)
    assert await pipeline.status(forgotten) == "pending"
    await step("hand over again", pipeline.forwarder.run_once)
    return touched


async def test_dead_rows_that_cannot_be_removed_slow_nothing(environ: dict[str, str], pinned_database: str) -> None:
    async with opened(environ, pinned_database, SELDOM) as (pipeline, plans):
        first = await walk(pipeline, plans)  # 从头看的那一遍
        then = await walk(pipeline, plans)
    assert {name for name, count in first.items() if count > MANY} == {"fetch", "presence", "leases", "orphans"}
    assert then.pop("orphans") <= ORPHAN_PAGE  # 一页页地走过做完的，一行至多一块
    assert {name: count for name, count in then.items() if count > FEW} == {}


async def test_retention_goes_on_where_the_last_batch_ended(environ: dict[str, str], pinned_database: str) -> None:
    async with opened(environ, pinned_database, SELDOM) as (pipeline, plans):
        retention, counts = Retention(pipeline.pool, pipeline.settings.tasks, batch=500), list[int]()
        for _ in range(8):
            plans.seen.clear()
            assert await retention.run_once() == 500
            counts.append(plans.take_blocks())
    assert max(counts) <= 1.2 * min(counts), counts
