"""大表上的一个请求在数据库里花多久、碰多少块：量它的，起应用的，快快装满一张表的。"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from psycopg import sql

from kaguan.config import load_settings
from kaguan.dev.postgres import DATABASE
from tests.bench.laboratory import Laboratory, open_laboratory
from tests.bench.report import surroundings
from tests.bench.rows import say
from tests.bench.scale import SHORT
from tests.support.console import Visitor, signed_in
from tests.support.serving import BASE, Api, serving

ROUNDS = 7  # 预备了的语句执行五次，PostgreSQL 才会改用通用计划
LIMIT = 100  # 毫秒
SPENT = """
select coalesce(sum(total_exec_time + total_plan_time), 0), coalesce(sum(shared_blks_hit + shared_blks_read), 0),
       coalesce(sum(calls), 0)
from pg_stat_statements join pg_roles on pg_roles.oid = userid
where not rolsuper and dbid = (select oid from pg_database where datname = %s)
"""
COSTLIEST = """
select round((total_exec_time + total_plan_time)::numeric, 1), shared_blks_hit + shared_blks_read, calls,
       left(regexp_replace(query, '\\s+', ' ', 'g'), 160)
from pg_stat_statements join pg_roles on pg_roles.oid = userid
where not rolsuper and dbid = (select oid from pg_database where datname = %s)
order by total_exec_time + total_plan_time desc
limit 3
"""
TOLD = """
每一行是一个请求在 PostgreSQL 里花的时间：它的全部语句的计划加执行（`pg_stat_statements`），各做 {rounds} 次，
写中位与最慢；块是碰过的 8 KiB 块（在不在缓存里都算，与机器快慢无关），取最多的一次。上限 {limit} 毫秒，超过的写明。
整个请求的时间（经 HTTP，含认证、取值、说成 JSON 或页面）也写在旁边，取中位。

{where}

| 请求 | 数据库，毫秒 | 最慢 | 块 | 语句 | 整个请求，毫秒 |
| --- | ---: | ---: | ---: | ---: | ---: |
"""
INDEXES = """
select c.relname, pg_get_indexdef(x.indexrelid), k.conname, pg_get_constraintdef(k.oid)
from pg_index x
join pg_class c on c.oid = x.indexrelid
left join pg_constraint k on k.conindid = x.indexrelid
where x.indrelid = %s::regclass
"""


@dataclass(slots=True)
class Row:
    """一种请求：各次的毫秒、块、语句数，与整个请求的毫秒。"""

    what: str
    spent: list[tuple[float, int, int]] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)

    @property
    def middle(self) -> float:
        return median(one[0] for one in self.spent)

    @property
    def worst(self) -> float:
        return max(one[0] for one in self.spent)

    @property
    def blocks(self) -> int:
        return max(one[1] for one in self.spent)

    def __str__(self) -> str:
        calls = max(one[2] for one in self.spent)
        slow = f"{self.worst:.1f}" + ("（超过）" if self.worst > LIMIT else "")
        whole = median(self.whole)
        return f"| {self.what} | **{self.middle:.1f}** | {slow} | {self.blocks:,} | {calls} | {whole:.0f} |"


@dataclass(frozen=True, slots=True)
class Meter:
    """量一个请求；``admin`` 是超级用户的连接，不算在账上。"""

    admin: psycopg.AsyncConnection[Any]

    async def measure(self, what: str, ask: Callable[[], Awaitable[object]]) -> Row:
        row = Row(what)
        for _ in range(ROUNDS):
            await self.once(row, ask)
        await self.tell(row)
        return row

    async def tell(self, row: Row) -> None:
        """量好的印出来；慢的连同最后一次里最费的几条语句。"""
        say(str(row))
        if row.worst > LIMIT:
            for line in await (await self.admin.execute(COSTLIEST, (DATABASE,))).fetchall():
                say(f"    {line}")

    async def once(self, row: Row, ask: Callable[[], Awaitable[object]]) -> None:
        """再量一次，记在 ``row`` 上。"""
        clock = asyncio.get_running_loop().time
        await self.admin.execute("select pg_stat_statements_reset()")
        before = clock()
        await ask()
        row.whole.append((clock() - before) * 1_000)
        [(milliseconds, blocks, calls)] = await (await self.admin.execute(SPENT, (DATABASE,))).fetchall()
        row.spent.append((float(milliseconds), int(blocks), int(calls)))


@dataclass(frozen=True, slots=True)
class Asker:
    """有全部权限的令牌，与登录了的操作员；答得不对就是错。"""

    api: Api
    visitor: Visitor

    async def read(self, path: str) -> None:
        """应答不一定是 JSON：也有一行一行推来的。"""
        headers = {"Authorization": f"Bearer {self.api.token}"}
        async with self.api.session.get(BASE + path, headers=headers) as response:
            text = await response.text()
            if response.status != 200:
                raise ValueError(f"{path}: {text}")

    async def look(self, path: str) -> None:
        page = await self.visitor.get(path)
        if page.status != 200:
            raise ValueError(f"{path}: {page.text}")

    async def send(self, path: str, body: object) -> None:
        reply = await self.api.post(path, body)
        if reply.status != 200:
            raise ValueError(f"{path}: {reply.text}")


@asynccontextmanager
async def metering(laboratory: Laboratory) -> AsyncIterator[Meter]:
    url = laboratory.postgres.admin_url_of("postgres")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
        await admin.execute("alter system set pg_stat_statements.track_planning = on")
        await admin.execute("select pg_reload_conf()")
        yield Meter(admin)


@asynccontextmanager
async def asking(laboratory: Laboratory, name: str = "reader", **extra: str) -> AsyncIterator[Asker]:
    """一个刚起的应用；``name`` 是这回的令牌，各不相同。"""
    settings = load_settings(laboratory.environment(KAGUAN_DATABASE__POOL_MAX="2", **extra))
    async with serving(settings, name=f"{name}-api") as api, signed_in(api, name=name) as visitor:
        yield Asker(api, visitor)


@contextmanager
def filling(laboratory: Laboratory, tables: Sequence[str]) -> Iterator[psycopg.Connection]:
    """装满 ``tables`` 的连接：先撤下它们的索引，装完再建、再分析；一行一行地维护要久得多。不怕断电，用完就扔。"""
    url = laboratory.postgres.admin_url_of(DATABASE)
    with psycopg.connect(url, autocommit=True) as admin:
        for setting in ("fsync = off", "full_page_writes = off", "max_wal_size = '16GB'"):
            admin.execute(f"alter system set {setting}".encode())
        admin.execute("select pg_reload_conf()")
    with psycopg.connect(laboratory.database_url(), autocommit=True) as connection:
        connection.execute("set maintenance_work_mem = '512MB'")
        connection.execute("set synchronous_commit = off")
        dropped: list[tuple[str, sql.SQL | sql.Composed]] = []
        for table in tables:
            for index, definition, constraint, wording in connection.execute(INDEXES, (table,)).fetchall():
                on, kept = sql.Identifier(table), sql.Identifier(constraint or index)
                if constraint is None:
                    connection.execute(sql.SQL("drop index {}").format(kept))
                    dropped.append((index, sql.SQL(definition)))
                else:
                    connection.execute(sql.SQL("alter table {} drop constraint {}").format(on, kept))
                    again = sql.SQL("alter table {} add constraint {} ").format(on, kept) + sql.SQL(wording)
                    dropped.append((index, again))
        yield connection
        for index, definition in dropped:
            connection.execute(definition)
            say(f"建好了 {index}")
        connection.execute("vacuum analyze")


async def prove(
    fill: Callable[[Laboratory], None], ask: Callable[[Laboratory, Meter], Awaitable[list[Row]]]
) -> list[Row]:
    """起服务器，装满，量。"""
    async with open_laboratory(SHORT) as laboratory:
        await asyncio.to_thread(fill, laboratory)
        await laboratory.checkpoint()
        async with metering(laboratory) as meter:
            return await ask(laboratory, meter)


def published(preface: str, rows: Sequence[Row], command: str, load: float, output: Path | None) -> None:
    """写成一页；``load`` 是开跑前的负载，不给 ``output`` 就印出来。"""
    told = TOLD.format(rounds=ROUNDS, limit=LIMIT, where=surroundings(command, load))
    text = preface + told + "".join(f"{row}\n" for row in rows)
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, "utf-8")
        say(f"已写入 {output.name}")
