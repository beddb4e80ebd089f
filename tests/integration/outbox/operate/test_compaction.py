"""过期的删过之后，空处还给文件系统：末尾的挪到前面，清理就截得短（docs/adr/0045）。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
import pytest

from kaguan.config import load_settings
from kaguan.config.model import Tasks
from kaguan.database.pool import Pool, open_pool
from kaguan.database.sql import load
from kaguan.dev.postgres import PostgresServer
from kaguan.outbox.operate.compaction import PACKAGE, Compaction
from kaguan.outbox.operate.retention import Retention
from tests.support.eventually import PATIENCE, eventually

OLD, RECENT, BATCH = 3_000, 500, 500
FILL: LiteralString = """
    insert into tb_task (id, type, queue, principal, request_id, payload, max_attempts, created_at, status, finished_at)
    select uuidv7(make_interval(days => -days)), 'email:send', 'default', 'p', gen_random_uuid()::text,
        jsonb_build_object('v', 1, 'body', repeat('x', 120)), 6, at, 'failed', at
    from unnest(%(days)s::int[], %(rows)s::int[]) as kinds (days, rows), generate_series(1, rows),
        lateral (select now() - make_interval(days => days)) as t (at)
"""
UNFINISHED = """
    insert into tb_task (id, type, queue, principal, payload, max_attempts)
    values (uuidv7(), 'email:send', 'default', 'p', '{"v": 1}', 6)
"""
BLOCK = "(ctid::text::point)[0]::int"
PLACES = f"select id, {BLOCK} from tb_task"
BLOCKS = "select (pg_relation_size('tb_task') / current_setting('block_size')::int)::int"
LAST = "select id from tb_task order by ctid desc limit 1"
ALL_BUT_A_FEW = """
    delete from tb_task
    where created_at > now() - interval '2 days' and ctid not in (select ctid from tb_task order by ctid desc limit 20)
"""
FLUSH = "select pg_stat_force_next_flush()"
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
RUN = "select statement from pg_prepared_statements"
pytestmark = [
    pytest.mark.unjudged("任务都是编的"),
    pytest.mark.direct("统计由哪条连接报上去，要由它自己定"),
]


@dataclass(frozen=True, slots=True)
class Stage:
    """先来的一大批过期了，后来的一小批立在文件末尾；自动清理停着，由用例来做。"""

    pool: Pool
    owner: psycopg.AsyncConnection[Any]
    retention: Retention

    async def ask(self, statement: LiteralString, *parameters: object) -> Any:
        return await (await self.owner.execute(statement, parameters)).fetchall()

    async def number(self, statement: LiteralString) -> int:
        return int((await self.ask(statement))[0][0])

    async def expire(self) -> None:
        while await self.retention.run_once():
            pass
        await self.owner.execute(FLUSH)
        async with self.pool.connection() as connection:
            await connection.execute(FLUSH)

    async def vacuum(self) -> int:
        """剩下几块。"""
        await self.owner.execute("vacuum (analyze) tb_task")
        return await self.number(BLOCKS)

    async def move(self) -> int:
        """挪到不再挪为止；挪了几批（末了的一批不算）。"""
        batches = 0
        while await self.retention.run_once() == 0 and self.retention.interval() < self.retention.period:
            batches += 1
        return batches

    async def moved(self, before: list[Any]) -> int:
        """几行不在原处了。"""
        return len(set(await self.ask(PLACES)) - set(before))


@pytest.fixture
async def stage(environ: dict[str, str], direct_url: str) -> AsyncIterator[Stage]:
    settings = load_settings({**environ, "KAGUAN_DATABASE__POOL_MAX": "1"})
    async with (
        open_pool(settings.database, "test") as pool,
        await psycopg.AsyncConnection.connect(direct_url, autocommit=True) as owner,
    ):
        await owner.execute("alter table tb_task set (autovacuum_enabled = off)")
        await owner.execute(FILL, {"days": [60, 1], "rows": [OLD, RECENT]})
        await owner.execute(FLUSH)
        yield Stage(pool, owner, Retention(pool, Tasks(retention_days=30), batch=BATCH, brief=f"{PATIENCE}s"))


async def test_space_of_what_expired_goes_back_to_the_file_system(stage: Stage) -> None:
    await stage.expire()
    full, before = await stage.vacuum(), await stage.ask("select * from vw_task order by id")
    assert len(before) == RECENT
    assert await stage.move() > 1
    assert await stage.vacuum() < full / 2
    assert await stage.ask("select * from vw_task order by id") == before
    places = await stage.ask(PLACES)
    assert await stage.move() == 0
    assert await stage.moved(places) == 0


async def test_a_handful_behind_much_free_space_does_not_hold_it(stage: Stage) -> None:
    """动过的不到五十分之一，清理平常就省了索引，留下的死行号使末尾截不掉。"""
    await stage.owner.execute(ALL_BUT_A_FEW)
    await stage.expire()
    full = await stage.vacuum()
    assert await stage.move() > 1
    assert await stage.vacuum() < full / 4


async def test_what_is_not_finished_or_locked_stays_and_stops_nothing(stage: Stage, direct_url: str) -> None:
    ((locked,),) = await stage.ask(LAST)
    await stage.owner.execute(UNFINISHED)
    ((unfinished,),) = await stage.ask(LAST)
    await stage.expire()
    await stage.vacuum()
    before = dict(await stage.ask(PLACES))
    async with await psycopg.AsyncConnection.connect(direct_url) as person:
        await person.execute("select from tb_task where id = %s for update", [locked])
        assert await stage.move() > 1
        after = dict(await stage.ask(PLACES))
    assert {task for task in after if after[task] >= before[task]} == {locked, unfinished}


async def test_without_anything_expired_nothing_is_asked(stage: Stage) -> None:
    """预备下了哪些语句，就执行过哪些。"""
    async with stage.pool.connection() as connection:
        connection.prepare_threshold = 0
    for days, asked in ((90, False), (30, True)):
        retention = Retention(stage.pool, Tasks(retention_days=days), batch=OLD)
        for _ in range(2):
            await retention.run_once()
        async with stage.pool.connection() as connection:
            statements = {row[0] for row in await (await connection.execute(RUN)).fetchall()}
        assert any("tb_task_event" in one for one in statements)
        assert any("tb_task'::regclass" in one for one in statements) is asked


async def test_where_nothing_in_front_is_free_it_stops_after_one_batch(
    stage: Stage, direct_url: str, postgres_server: PostgresServer
) -> None:
    """统计清了零，看着像有空处，死行却还占着。"""
    await stage.expire()
    await stage.owner.execute("analyze tb_task")
    before = await stage.ask(PLACES)
    with psycopg.connect(postgres_server.admin_url_of(direct_url.rpartition("/")[2])) as superuser:
        superuser.execute("select pg_stat_reset_single_table_counters('tb_task'::regclass)")
    assert await stage.move() == 0
    assert 0 < await stage.moved(before) < RECENT / 5


async def test_while_a_snapshot_keeps_what_expired_nothing_is_moved(stage: Stage, direct_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(direct_url) as report:
        await report.execute("set transaction isolation level repeatable read")
        await report.execute("select from tb_user")
        await stage.expire()
        full, before = await stage.vacuum(), await stage.ask(PLACES)
        assert await stage.move() == 0
        assert await stage.moved(before) == 0
    assert await stage.vacuum() == full
    assert await stage.move() > 1
    assert await stage.moved(before) == RECENT


async def waiting(url: str) -> bool:
    async with await psycopg.AsyncConnection.connect(url) as other:
        return await (await other.execute(WAITING)).fetchone() == (1,)


async def test_a_decision_about_a_task_waits_for_its_move_and_finds_it(stage: Stage, direct_url: str) -> None:
    await stage.expire()
    blocks = await stage.vacuum()
    ((task_id,),) = await stage.ask(LAST)
    async with stage.pool.connection() as connection, stage.owner.transaction():
        await stage.owner.execute(load(PACKAGE, "bring_forward"), {"low": 0, "high": blocks})
        deciding = asyncio.create_task(connection.execute(load(PACKAGE, "lock_decided"), {"task_id": task_id}))
        await eventually(lambda: waiting(direct_url))
    assert await (await deciding).fetchone() == ("failed", 1)


async def test_a_table_held_by_others_is_left_alone(stage: Stage) -> None:
    await stage.expire()
    await stage.vacuum()
    compaction = Compaction(BATCH, OLD)
    async with stage.pool.connection() as connection:
        async with stage.owner.transaction():
            await stage.owner.execute("lock table tb_task in share mode")
            assert not await compaction.run_once(connection)
        assert not await compaction.run_once(connection)
        assert await Compaction(BATCH, OLD).run_once(connection)
