"""数据库一页：锁着我们的表，页面照开，说得出谁挡着谁；死行数得出，不读任何一张表。"""

from __future__ import annotations

import asyncio
import re

import psycopg

from kaguan.database.pool import Pool
from kaguan.database.server import ServerMetrics, ask_server, sessions, slow_statements
from kaguan.outbox.metrics import Metrics
from tests.support.console import signed_in
from tests.support.eventually import PATIENCE, eventually
from tests.support.serving import Api

BLOCKED = "select count(*) from pg_stat_activity where %s::int = any(pg_blocking_pids(pid))"


async def test_who_locks_a_table_and_who_waits_for_it_are_named_while_the_page_opens(api: Api, direct_url: str) -> None:
    async with (
        signed_in(api) as visitor,
        await psycopg.AsyncConnection.connect(direct_url, application_name="backup") as holder,
        await psycopg.AsyncConnection.connect(direct_url, autocommit=True, application_name="psql") as waiter,
        await psycopg.AsyncConnection.connect(direct_url, autocommit=True) as watcher,
    ):
        blocker, blocked = holder.info.backend_pid, waiter.info.backend_pid
        await holder.execute("lock table tb_task in access exclusive mode")
        waiting = asyncio.create_task(waiter.execute("select 'a@example.com' from tb_task"))

        async def is_blocked() -> bool:
            [[count]] = await (await watcher.execute(BLOCKED, (blocker,))).fetchall()
            return bool(count)

        await eventually(is_blocked)
        page = await visitor.get("/console/database", {"Accept-Language": "en"})
        await holder.rollback()
        await asyncio.wait_for(waiting, PATIENCE)
    assert page.status == 200, page.text
    held, waits = row_of(page.text, blocker), row_of(page.text, blocked)
    assert "backup" in held
    assert "blocks others" in held
    assert f"<td>{blocker}</td>" in waits
    assert "Lock relation" in waits
    assert "a@example.com" not in page.text  # 别的程序的语句可能带着值


async def test_a_session_that_blocks_us_is_ended_on_the_page_and_nobody_elses(api: Api, direct_url: str) -> None:
    async with (
        signed_in(api) as visitor,
        await psycopg.AsyncConnection.connect(direct_url, autocommit=True, application_name="kaguan-test") as ours,
        await psycopg.AsyncConnection.connect(direct_url, autocommit=True, application_name="psql") as idle,
    ):
        holder = await psycopg.AsyncConnection.connect(direct_url, application_name="backup")
        blocker = str(holder.info.backend_pid)
        await holder.execute("lock table tb_task in access exclusive mode")
        waiting = asyncio.create_task(ours.execute("select from tb_task"))

        async def offered() -> bool:
            return f'data-lock="{blocker}"' in (await visitor.get("/console/database")).text

        await eventually(offered)
        refused = await visitor.act("/console/database/end", pid=str(idle.info.backend_pid))
        ended = await visitor.act("/console/database/end", pid=blocker)
        assert (refused.status, ended.status) == (409, 303)
        await asyncio.wait_for(waiting, PATIENCE)
        await idle.execute("select")
        await holder.close()
        deeds = [(outcome, target) for _, action, outcome, target in await visitor.audit() if action == "session.end"]
    assert deeds[-1] == ("ok", blocker)


def row_of(text: str, pid: int) -> str:
    found = re.search(rf'<tr data-session="{pid}">.*?</tr>', text, re.DOTALL)
    assert found is not None, text
    return found[0]


async def test_a_snapshot_that_holds_back_the_clean_up_is_told_with_its_age(pool: Pool, direct_url: str) -> None:
    async with (
        await psycopg.AsyncConnection.connect(direct_url, application_name="report") as reader,
        pool.connection() as connection,
    ):
        await reader.execute("set transaction isolation level repeatable read")
        await reader.execute("select from tb_user")
        for _ in range(3):
            await connection.execute("select pg_current_xact_id()")
        [one] = [held for held in await sessions(connection, "kaguan") if held.pid == reader.info.backend_pid]
        server = await ask_server(connection, "kaguan")
    assert one.snapshot is not None
    assert one.snapshot >= 3
    assert one.state == "idle in transaction"
    assert server.oldest > 0
    assert 0 < server.ours <= server.open <= server.allowed


async def test_dead_rows_are_in_the_metrics_by_table(pool: Pool) -> None:
    metrics = ServerMetrics(registry := Metrics().registry)
    async with pool.connection() as connection:
        await connection.execute(
            "insert into tb_api_token (name, token_hash, hint, scopes) values ('t', sha256('t'), 't', '{}')"
        )
        await connection.execute("update tb_api_token set hint = 'u'")
        await connection.execute("select pg_stat_force_next_flush()")

    async def counted() -> bool:
        await metrics.publish(pool, "kaguan")
        return registry.get_sample_value("kaguan_database_dead_rows", {"table": "tb_api_token"}) == 1.0

    await eventually(counted)
    assert (registry.get_sample_value("kaguan_database_server_connections") or 0) >= 1
    assert (registry.get_sample_value("kaguan_database_server_connections_allowed") or 0) > 1


async def test_without_the_extension_the_page_says_what_to_install(pool: Pool, api: Api) -> None:
    async with pool.connection() as connection:
        assert await slow_statements(connection) is None
    async with signed_in(api) as visitor:
        page = await visitor.get("/console/database", {"Accept-Language": "en"})
    assert "CREATE EXTENSION pg_stat_statements" in page.text
