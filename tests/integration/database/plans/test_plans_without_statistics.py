"""业务的每条语句：没有统计信息、统计信息说表是空的、统计信息是新的，千行与十万行，要看的行与块都一样少。

刚登记完一批卡、刚恢复完一个库，自动分析还没轮到：那时规划器凭空猜，语句的写法不能由着它猜；
worker 的连接更是表还空着时计划一遍，就一直用。
语句自己找：各业务包的 ``sql`` 文件，与各 ``store`` 里收 SQLAlchemy 连接的函数；漏了样例的不让过。
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from importlib import import_module
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncEngine

from kaguan.config import load_settings
from kaguan.database.engine import engine_on
from kaguan.database.paging import PageRequest
from kaguan.database.pool import Pool, open_pool
from kaguan.dev.postgres import PostgresServer
from kaguan.orders.store import OrderFilter
from kaguan.outbox.operate.compaction import BLOCKS
from kaguan.sims.store import SimFilter
from kaguan.sims.vocabulary import Carrier
from kaguan.users.store import UserFilter
from tests.integration.database.plans.large_database import BIG_TABLES, copy_of_template, insert
from tests.integration.database.plans.plans import Plans, numbered
from tests.integration.database.plans.samples import ICCID, sample
from tests.support.servers import TEMPLATE
from tests.support.statements import ROOT, STATEMENTS, name_of

SIZES = (1_000, 100_000)
STATISTICS = {
    "空表的": "",
    "没有": "delete from pg_statistic; update pg_class set relpages = 0, reltuples = -1 where relname like '%tb\\_%'",
    "新的": "vacuum analyze",
}
# 消息路径与判断（总览在内）另有用例：那里的语句按任务论，不按库存论；保留期的清理不在其列
ELSEWHERE = frozenset({"outbox", "verdict"})
RETENTION = frozenset({"operate/bring_forward", "operate/expire_tasks", "recover/expire_vanished", "order/expire"})
ASKED = frozenset({"sims/find"})  # 只有 API 问；它的连接上，删空了的表的旧统计信息不会一直管着
TABLES = BIG_TABLES - {"tb_outbox", "tb_task_event"}
KEYS = 100  # 一批这么多张卡：运营商一次应答至多这么多
ROWS_MAX = 80 * KEYS  # 各个节点看过的行合计，千行的表看遍也在内；猜错的那个计划在十万行上至少要看十万行
BLOCKS_MAX = 5_000
LISTED = 65_000  # 列表数到一万为止，没有索引的条件至多看四千行、过几个节点，另有上限的用例
UNKNOWN = 250_000  # 从没分析过的表，数总数的那条把它排一遍：一次看遍，分析过就好

CARDS = [f"8986{number:016}" for number in range(1, KEYS + 1)]
LISTS: dict[str, Any] = {
    "iccids": CARDS,
    "texts": CARDS,
    "recipients": [f"r{number}@example.com" for number in range(KEYS)],
    "states": ["active"] * KEYS,
    "reasons": [None] * KEYS,
    "statuses": ["accepted"] * KEYS,
    "sessions": [None] * KEYS,
    "accepted": [None] * KEYS,
    "refusals": [None] * KEYS,
}
NAMED = {
    "change_id": 9,
    "carrier": "onelink",
    "sync_type": "sim_status",
    "outcome": "ok",
    "scopes": ["ops"],
    "low": 0,
    "high": BLOCKS,
}
# 各 store 的函数给什么参数；列表另有条件
BY_FILTER = [
    (PageRequest(), wanted)
    for wanted in (
        SimFilter(),
        SimFilter(carrier=Carrier.ONELINK),
        SimFilter(plan="plan1"),
        SimFilter(group="group1"),
        SimFilter(customer="customer1"),
        SimFilter(tag="all"),
        SimFilter(tag="one of 2000-7"),
        SimFilter(tag="all", carrier=Carrier.ONELINK),
        SimFilter(ids=range(1, KEYS)),
    )
]
GIVEN: Mapping[str, Sequence[tuple[Any, ...]]] = {
    "users.insert_user": [("new", "new@example.com", "x")],
    "users.get_user": [(77,)],
    "users.lock_user": [(77,)],
    "users.update_user": [(77, {"status": "banned"})],
    "users.delete_user": [(77,)],
    "users.list_users": [(PageRequest(), UserFilter()), (PageRequest(), UserFilter(username="user77"))],
    "orders.insert_order": [({"order_id": "NEW", "user_id": 77, "amount": 1},)],
    "orders.get_order": [(77,)],
    "orders.lock_order": [(77,)],
    "orders.get_owner": [(77,)],
    "orders.update_order": [(77, {"status": "paid"})],
    "orders.delete_order": [(77,)],
    "orders.list_orders": [(PageRequest(), OrderFilter()), (PageRequest(), OrderFilter(user_id=77))],
    "sims.registered": [(CARDS,)],
    "sims.end_profile": [(77,)],
    "sims.list_profiles": [(77,)],
    "sims.get_sim": [(CARDS[0],)],
    "sims.lock_sim": [(CARDS[0],)],
    "sims.update_sim": [(77, {"remark": "x"})],
    "sims.delete_sim": [(77,)],
    "sims.list_sims": BY_FILTER,
    "sims.list_rows": BY_FILTER,
    "sims.count_sims": BY_FILTER,
    "sims.list_usage": [(ICCID, date(2026, 1, 1), date(2026, 3, 1))],
}
FILES = {
    name: numbered(text)
    for path, text in STATEMENTS.items()
    if (name := name_of(path)) in RETENTION or path.relative_to(ROOT).parts[0] not in ELSEWHERE
}


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """各 ``store`` 里头一个参数是 SQLAlchemy 连接的函数。"""
    for module in pkgutil.iter_modules([str(ROOT)]):
        if not module.ispkg or not (ROOT / module.name / "store.py").exists():
            continue
        store = import_module(f"kaguan.{module.name}.store")
        for name, function in inspect.getmembers(store, inspect.iscoroutinefunction):
            first = next(iter(inspect.signature(function).parameters.values()), None)
            if function.__module__ == store.__name__ and first is not None and first.annotation == "AsyncConnection":
                yield f"{module.name}.{name}", function


FUNCTIONS = dict(functions())


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer, admin: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """一个空库，谁也不会自动去分析它；连接是超级用户的。"""
    with copy_of_template(admin, TEMPLATE, "test_statistics") as name:
        url = postgres_server.admin_url_of(name)
        with psycopg.connect(url, autocommit=True, options="-c synchronous_commit=off") as connection:
            for table in BIG_TABLES:
                connection.execute(f"alter table {table} set (autovacuum_enabled = off)".encode())
            connection.execute("set allow_system_table_mods = on")
            yield connection


@asynccontextmanager
async def opened(
    environ: dict[str, str], url: str, *, planned_once: bool
) -> AsyncIterator[tuple[Pool, AsyncEngine, Plans]]:
    """唯一的一条连接，计划都记下。"""
    plans = Plans()
    settings = load_settings({**environ, "KAGUAN_DATABASE__URL": url, "KAGUAN_DATABASE__POOL_MAX": "1"})
    async with open_pool(settings.database, "test", planned_once=planned_once) as pool:
        async with pool.connection() as connection:
            connection.add_notice_handler(plans.note)
        engine = engine_on(pool)
        yield pool, engine, plans
        await engine.dispose()


async def test_every_statement_looks_at_as_little_whatever_the_statistics_say(
    environ: dict[str, str], postgres_server: PostgresServer, database: psycopg.Connection
) -> None:
    assert FUNCTIONS.keys() == GIVEN.keys()
    assert len(FILES) >= 20
    url = postgres_server.url_of(database.info.dbname)
    found: list[str] = []
    for size in SIZES:
        database.execute(f"truncate {', '.join(TABLES)} restart identity".encode())
        database.execute("analyze")
        # worker 的连接：表还空着时计划一遍，就一直用
        async with opened(environ, url, planned_once=True) as (worker, _, plans):
            for name in FILES:
                await run_file(worker, name)
            plans.seen.clear()
            insert(database, size, TABLES - {"tb_task"})
            insert(database, size // 4, frozenset({"tb_task"}))  # 有两倍，一半就看得出来
            for name in FILES if size == min(SIZES) else FILES.keys() - ASKED:
                await run_file(worker, name)
                found += beyond(plans, f"{name}，{size} 行，空表时计划的", ROWS_MAX)
        for kind, statements in STATISTICS.items():
            for statement in filter(None, statements.split("; ")):
                database.execute(statement.encode())
            async with opened(environ, url, planned_once=False) as (pool, engine, plans):
                for name in FILES:
                    await run_file(pool, name)
                    found += beyond(plans, f"{name}，{size} 行，统计信息{kind}", ROWS_MAX)
                for name, function in FUNCTIONS.items():
                    for arguments in GIVEN[name]:
                        async with engine.connect() as connection:
                            await function(connection, *arguments)
                            await connection.rollback()
                        listed = UNKNOWN if kind == "没有" else LISTED
                        limit = listed if ".list_" in name or ".count_" in name else ROWS_MAX
                        found += beyond(plans, f"{name}，{size} 行，统计信息{kind}", limit)
    assert found == [], "\n".join(found)


async def run_file(pool: Pool, name: str) -> None:
    """执行一条，再撤回；同一条连接上只预备一次。"""
    text, names = FILES[name]
    async with pool.connection() as connection, connection.transaction(force_rollback=True):
        prepared = sql.Identifier(name)
        ask = "select parameter_types::text[] from pg_prepared_statements where name = %s"
        known = await (await connection.execute(ask, [name])).fetchone()
        if known is None:
            await connection.execute(sql.SQL("prepare {} as ").format(prepared) + sql.SQL(text))
            known = await (await connection.execute(ask, [name])).fetchone()
        assert known is not None
        values = [sql.Literal(value_of(*parameter)) for parameter in zip(names, known[0], strict=True)]
        arguments = sql.SQL("({})").format(sql.SQL(", ").join(values)) if values else sql.SQL("")
        await connection.execute(sql.SQL("execute {}").format(prepared) + arguments)


def value_of(name: str, kind: str) -> object:
    if kind.endswith("[]"):
        return LISTS.get(name, [sample(name, kind.removesuffix("[]"))] * KEYS)
    return NAMED.get(name, sample(name, kind))


def beyond(plans: Plans, what: str, limit: int) -> list[str]:
    """上次看过之后，超了的那几条。"""
    work = plans.take_work()
    return [f"{what}：看了 {rows} 行、{blocks} 块" for rows, blocks in work if rows > limit or blocks > BLOCKS_MAX]
