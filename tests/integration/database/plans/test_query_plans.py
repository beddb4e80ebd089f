"""10 万行的表上，每条路由与消息路径的每条语句都走索引。"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import sql

from kaguan.config import load_settings
from kaguan.database.paging import Position, Sort, encode_cursor
from kaguan.dev.postgres import PostgresServer
from kaguan.outbox.operate.listing import TaskFilter, newest
from kaguan.outbox.vocabulary import FIRST_ID, LAST_ID
from tests.integration.database.plans.large_database import BIG_TABLES, ROWS, copy_of_template, fill, scans
from tests.integration.database.plans.plans import Plans, numbered
from tests.integration.database.plans.query_report import publish
from tests.integration.database.plans.samples import FIRST, ICCID, TASK, sample
from tests.support.console import Page, signed_in
from tests.support.servers import TEMPLATE
from tests.support.serving import Api, Reply, serving
from tests.support.statements import STATEMENTS, name_of

SPARE = "89860000000000000078"
CURSOR = encode_cursor(Position(100_000))
OLDER = encode_cursor(Position(100_000), Sort.OLDEST)
TIMED = encode_cursor(Position(100_000, datetime(2026, 1, 15, tzinfo=UTC)), Sort.UPDATED)
SECOND_DAY = "since=2026-01-02T00:00:00Z"
USER = {"username": "zhang.san", "email": "zhang@example.com", "password": "correct horse"}

READS = [
    "/users?page_size=20", "/users?page=500", "/users?status=banned&page_size=100", f"/users?cursor={CURSOR}",
    f"/users?status=inactive&cursor={CURSOR}", "/users/77",
    "/orders", "/orders?page=500", "/orders?user_id=123", "/orders?status=paid", "/orders?user_id=123&status=paid",
    f"/orders?cursor={CURSOR}", f"/orders?status=completed&cursor={CURSOR}", "/orders/77",
    "/sims", "/sims?page=500", "/sims?carrier=onelink", "/sims?lifecycle_state=suspended",
    "/sims?carrier=control_center&lifecycle_state=cancelled", f"/sims?cursor={CURSOR}",
    f"/sims?carrier=onelink&lifecycle_state=active&cursor={CURSOR}", f"/sims/{ICCID}",
    f"/sims/{ICCID}/usage?start_date=2026-01-01&end_date=2026-03-01",
    f"/sims/{ICCID}/events", f"/sims/{ICCID}/events?cursor={CURSOR}", f"/sims?q={ICCID}", "/sims?q=1064700001999",
    "/sims?q=0001999",
    f"/sims?q=898600000000000000,1064700002,89{'0' * 26}1&page_size=100", "/sims?q=00019&carrier=onelink",
    "/sims?plan=plan3&lifecycle_state=suspended",  # 各有许多，合起来一张也没有
    "/sims?plan=plan1", "/sims?group=group7&lifecycle_state=active", "/sims?customer=customer9&carrier=onelink",
    "/sims?tag=all", "/sims?tag=one of 2000-7", "/sims?tag=all&carrier=onelink&plan=plan3",
    f"/sims?tag=all&cursor={CURSOR}", f"/sims?tag=all&{SECOND_DAY}",
    "/holders", "/stats", "/verdict/acknowledgements", "/verdict/history?since=2026-01-01T00:00:00Z",
    "/users?username=USER77",
    "/users?email=user77@example.com", "/users?sort=id&status=banned",
    f"/users?sort=id&cursor={OLDER}", f"/users?sort=updated_at&cursor={TIMED}", "/users?since=2026-01-01T00:00:00Z",
    "/orders?order_id=ORD77", "/orders?sort=id&user_id=123&status=paid", "/orders?until=2026-01-01T00:00:00Z",
    "/orders?sort=-updated_at&since=2026-01-01T00:00:00Z", "/sims?msisdn=1064712345678", "/sims?imsi=460040123456789",
    "/sims?carrier=onelink&msisdn=1064712345678", f"/sims?sort=id&carrier=onelink&cursor={OLDER}",
    "/sims?sort=updated_at&since=2026-01-01T00:00:00Z", f"/sims?sort=updated_at&cursor={TIMED}",
    f"/orders?status=paid&{SECOND_DAY}", f"/orders?status=paid&{SECOND_DAY}&sort=created_at&until=2026-01-02T01:00:00Z",
    f"/orders?user_id=123&{SECOND_DAY}", f"/orders?status=completed&until=2026-01-02T00:00:00Z&cursor={CURSOR}",
    f"/sims?carrier=onelink&lifecycle_state=suspended&{SECOND_DAY}", f"/sims?sort=id&{SECOND_DAY}",
    f"/sims?carrier=onelink&sort=created_at&{SECOND_DAY}&cursor={OLDER}", "/users?status=banned&sort=-created_at",
]  # fmt: skip
TASKS = [
    "", "status=succeeded", "status=pending", "status=queued", "status=running", "status=retrying", "status=failed",
    "status=uncertain", "status=cancelled", "queue=critical", "queue=low", "type=email:send", "type=event:publish",
    "type=email:send&queue=low", "status=succeeded&type=event:publish", "status=running&queue=critical",
    "status=failed&type=event:publish", "status=pending&type=data:sync&queue=low", "request_id=r77",
    "request_id=nobody", "since=2023-11-14T22:13:20Z&until=2023-11-14T22:13:30Z", "until=2023-11-14T22:13:30Z",
    "ordering_key=nobody", "ordering_key=nobody&status=pending&queue=low",
    "since=2023-11-14T22:13:20Z&status=cancelled", "status=cancelled&queue=low", f"status=running&cursor={TASK}",
    "q=018bcfe5", f"q={str(TASK)[:13]}…{str(TASK)[-6:]}", "q=abcdef", "q=nobody", "q=1064700001999", "scheduled=true",
    "status=pending&scheduled=false",
]  # fmt: skip
REPLAYS: list[dict[str, Any]] = [
    {"status": "failed"},
    {"status": "failed", "type": "event:publish"},
    {"status": "uncertain", "type": "data:sync"},
    {"status": "failed", "type": "event:publish", "dry_run": False},
]
TESTING = """
insert into tb_sim (iccid, carrier, luhn_valid, lifecycle_state)
select '8987' || lpad(n::text, 16, '0'), 'control_center', true, 'testing' from generate_series(1, %s) as n
on conflict do nothing
"""
FILE = base64.b64encode(f"iccid,eid\n{ICCID},\n8986{'8' * 16},89{'9' * 30}\n".encode()).decode()
WRITES: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "/users", USER),
    ("PUT", "/users/77", {"email": "new@example.com", "status": "banned"}),
    ("DELETE", "/users/78", None),
    ("POST", "/orders", {"user_id": 77, "amount": 1}),
    ("POST", "/orders", {"user": {**USER, "username": "li.si", "email": "li@example.com"}, "amount": 1}),
    ("PUT", "/orders/78", {"status": "cancelled", "remark": "x"}),
    ("DELETE", "/orders/79", None),
    ("PUT", f"/sims/{SPARE}", {"msisdn": "1064700000001", "remark": "x"}),
    ("PATCH", f"/sims/{SPARE}", {"iccid": "8986" + "9" * 16, "tags": ["new"], "plan": "plan2"}),
    ("POST", f"/sims/{ICCID}/refresh", None),
    ("POST", "/sims/imports", {"content_base64": FILE, "carrier": "onelink", "dry_run": False}),
    ("DELETE", "/sims/" + "8986" + "9" * 16, None),
    (
        "POST",
        "/sims",
        {"sims": [{"iccid": ICCID, "carrier": "onelink"}, {"iccid": "8986011" * 3, "carrier": "onelink"}]},
    ),
]
CONSOLE = [
    "/", "/console/live/overview", "/console/tasks", "/console/tasks?status=failed", "/console/tasks?status=succeeded",
    "/console/tasks?status=pending&queue=low", "/console/tasks?status=running&queue=critical",
    "/console/tasks?status=queued", "/console/tasks?status=retrying", "/console/tasks?status=uncertain&type=data:sync",
    "/console/tasks?type=email:send", "/console/tasks?type=email:send&queue=low", "/console/tasks?queue=default",
    "/console/tasks?q=r77", "/console/tasks?key=nobody", "/console/tasks?since=2023-11-14T22:13&until=2023-11-14T22:14",
    "/console/tasks?status=cancelled&queue=low", f"/console/tasks?status=failed&cursor={TASK}",
    "/console/tasks?caller=nobody", "/console/tasks?status=failed&error=nobody", f"/console/tasks?iccid={ICCID}",
    "/console/tasks?q=nobody", "/console/tasks?q=018bcfe5", "/console/tasks?status=scheduled", "/console/pauses",
    "/console/dead-letters", "/console/dead-letters?preview=1&status=failed&type=email:send&limit=1000",
    "/console/sims", "/console/sims?q=1064700001999,00078", "/console/sims?tag=all&carrier=onelink",
    "/console/sims?customer=customer9&state=active", f"/console/sims?cursor={CURSOR}", f"/console/sims/{ICCID}",
    f"/console/live/sims/{ICCID}",
    "/console/outbox", "/console/database", "/console/holders", "/console/stats", "/console/verdict", "/console/audit",
    "/console/audit?actor=x&action=task.cancel",
    "/console/audit?target=x&since=2026-01-01T00:00", f"/console/tasks/{FIRST}",
]  # fmt: skip

# 一行也没有的，与同一条语句有许多的
APART = [
    ("/sims?carrier=onelink&lifecycle_state=testing", "/sims?carrier=onelink&lifecycle_state=active"),
    ("/sims?plan=plan3&lifecycle_state=suspended", "/sims?plan=plan2&lifecycle_state=active"),
    ("/sims?lifecycle_state=unknown", "/sims?lifecycle_state=active"),
    (
        f"/sims?carrier=onelink&lifecycle_state=testing&cursor={CURSOR}",
        f"/sims?carrier=onelink&lifecycle_state=active&cursor={CURSOR}",
    ),
    ("/orders?user_id=30000&status=paid", "/orders?user_id=123&status=paid"),
]

TYPES = "select parameter_types::text[] from pg_prepared_statements where name = 'statement'"
BLOCKS_MAX = 5_000  # 没有索引的条件至多看四千行，死信至多看几千个；表再大也是这么多
BEYOND_GENERIC = 6  # 预备了的执行五次，PostgreSQL 才会改用通用计划
# pytest 插件的只在用例的小库上跑
SQL = {name: text for path, text in STATEMENTS.items() if not (name := name_of(path)).startswith("testing/")}


@pytest.fixture(scope="module")
def large_database(postgres_server: PostgresServer, admin: psycopg.Connection) -> Iterator[str]:
    """像刚导入、还没有清理过的：规划器以为哪一页都不是全可见的，嫌只看索引的贵。"""
    with copy_of_template(admin, TEMPLATE, "test_large") as name:
        fill(postgres_server.admin_url_of(name))
        with psycopg.connect(postgres_server.admin_url_of(name), autocommit=True) as direct:
            for table in BIG_TABLES:
                direct.execute(f"alter table {table} set (autovacuum_enabled = off)".encode())
            direct.execute("update pg_class set relallvisible = 0 where relname = any(%s)", [[*BIG_TABLES]])
        yield postgres_server.url_of(name)


async def watched(api: Api) -> Plans:
    """``api`` 唯一的那条数据库连接上的计划；头一次就预备。"""
    plans = Plans()
    async with api.pool.connection() as connection:
        connection.add_notice_handler(plans.note)
        connection.prepare_threshold = 0
    return plans


async def test_no_route_scans_a_large_table(environ: dict[str, str], large_database: str) -> None:
    environ |= {
        "KAGUAN_DATABASE__URL": large_database,
        "KAGUAN_DATABASE__POOL_MAX": "1",
    }
    async with serving(load_settings(environ), name="plans") as api:
        plans = await watched(api)
        scanning: dict[str, list[str]] = {}
        for method, path, body in [("GET", read, None) for read in READS] + WRITES:
            reply = await api.call(method, path, body)
            assert reply.status in {200, 201, 202}, reply.text
            if found := plans.take_scanning():
                scanning[f"{method} {path}"] = found
        assert scanning == {}


async def test_no_console_page_scans_a_large_table(environ: dict[str, str], large_database: str) -> None:
    environ |= {"KAGUAN_DATABASE__URL": large_database, "KAGUAN_DATABASE__POOL_MAX": "1"}
    async with serving(load_settings(environ), name="console") as api, signed_in(api) as visitor:
        plans = await watched(api)
        scanning: dict[str, list[str]] = {}
        for path in CONSOLE:
            page = await visitor.get(path)
            assert page.status == 200, page.text
            if found := plans.take_scanning():
                scanning[path] = found
        assert scanning == {}


async def test_every_list_touches_few_blocks(environ: dict[str, str], large_database: str) -> None:
    # 后台的积压估计也走这条连接：让它数得少
    environ |= {"KAGUAN_API__BACKLOG_LIMIT": "1"}
    environ |= {"KAGUAN_DATABASE__URL": large_database, "KAGUAN_DATABASE__POOL_MAX": "1"}
    statements: dict[str, Counter[str]] = {}

    def note(path: str) -> bool:
        """同一个页面看几遍，记碰得最多的那一遍；返回它的计划是否不会再换。"""
        settled = plans.ran_beyond(BEYOND_GENERIC)
        statements[path] = max(statements.get(path, Counter()), plans.take_blocks_by_statement(), key=Counter.total)
        return settled

    async with serving(load_settings(environ), name="blocks") as api, signed_in(api, name="reader") as visitor:
        plans = await watched(api)
        looks: list[tuple[Callable[[str], Awaitable[Reply | Page]], str]] = [(visitor.get, path) for path in CONSOLE]
        looks += [(api.get, path) for path in [*READS, *(f"/tasks?{query}" for query in TASKS)]]
        for enough in (False, True):  # 先都看一遍：同一条语句，头五次各有各的计划
            for look, path in looks:
                while True:
                    assert (await look(path)).status == 200, path
                    if note(f"GET {path}") or not enough:
                        break
        for body in REPLAYS:
            assert (await api.post("/tasks/replay", body)).status == 200
            note(f"POST /tasks/replay {json.dumps(body)}")
        [(tasks,)] = await api.rows("select count(*) from vw_task")
    publish(tasks, {path: counts.total() for path, counts in statements.items()}, BLOCKS_MAX)
    assert {path: dict(counts) for path, counts in statements.items() if counts.total() > BLOCKS_MAX} == {}


async def test_the_console_finds_rare_tasks_however_old_and_goes_on_where_it_stopped(
    environ: dict[str, str], large_database: str
) -> None:
    environ |= {"KAGUAN_DATABASE__URL": large_database}
    async with serving(load_settings(environ), name="rare") as api, signed_in(api, name="seeker") as visitor:
        for status in ("running", "uncertain", "queued", "failed"):
            page = await visitor.get(f"/console/tasks?status={status}")
            assert page.text.count("<tr data-task") > 20, status  # 四千行里只有一两个
        seen: set[str] = set()
        path = "/console/tasks?type=email:send&queue=low"  # 样本里一个也没有
        for _ in range(3):
            page = await visitor.get(path)
            assert 'data-testid="no-tasks"' in page.text
            found = re.search(r'href="([^"]+)" rel="next"', page.text)
            assert found is not None
            path = found[1].replace("&amp;", "&")
            assert path not in seen
            seen.add(path)


async def test_a_rare_task_is_found_however_far_back_in_bounded_steps(
    environ: dict[str, str], large_database: str
) -> None:
    environ |= {"KAGUAN_DATABASE__URL": large_database}
    where = TaskFilter(FIRST_ID, LAST_ID, type="email:send", queue="low")  # 样本里一个也没有
    async with serving(load_settings(environ), name="far") as api:
        first = (await api.get("/tasks?type=email:send&queue=low")).data
        assert first["items"] == []
        then = (await api.get(f"/tasks?type=email:send&queue=low&cursor={first['next_cursor']}")).data
        assert then["next_cursor"] < first["next_cursor"]
        async with api.pool.connection() as connection, connection.transaction(force_rollback=True):
            found = await connection.execute("select id from vw_task where type = 'email:send' order by id limit 1")
            [oldest] = await found.fetchall()
            await connection.execute("update tb_task set queue = 'low' where id = %s", oldest)
            assert [task.id for task in await newest(connection, where, 5)] == [*oldest]


async def test_a_list_costs_the_same_few_statements_whatever_its_size(
    environ: dict[str, str], large_database: str
) -> None:
    environ |= {"KAGUAN_DATABASE__URL": large_database, "KAGUAN_DATABASE__POOL_MAX": "1"}
    async with serving(load_settings(environ), name="statements") as api:
        plans = await watched(api)
        await api.get("/users/1")  # 令牌从此在缓存里
        for path in ("/users", "/orders", "/sims"):
            for size in (1, 100):
                plans.seen.clear()
                page = (await api.get(f"{path}?page_size={size}")).data
                assert len(page["items"]) == size
                # 大写的是列表自己的；令牌、积压、门铃隔几秒问的，都是手写的
                own = [plan for plan in plans.seen if plan["Query Text"].startswith("SELECT ")]
                assert len(own) == 2


def test_no_statement_of_the_message_path_scans_a_large_table(large_database: str) -> None:
    scanning: dict[str, Any] = {}
    with psycopg.connect(large_database, autocommit=True) as connection:
        connection.execute("set plan_cache_mode = force_custom_plan")
        for name in sorted(SQL):
            text, names = numbered(SQL[name])
            connection.execute(f"prepare statement as {text}".encode())
            [(types,)] = connection.execute(TYPES).fetchall()
            values = [sql.Literal(sample(*parameter)) for parameter in zip(names, types, strict=True)]
            arguments = sql.SQL("({})").format(sql.SQL(", ").join(values)) if values else sql.SQL("")
            explain = sql.SQL("explain (format json) execute statement") + arguments
            [(plan,)] = connection.execute(explain).fetchall()
            connection.execute("deallocate statement")
            if list(scans(plan[0]["Plan"])):
                scanning[name] = plan
    assert len(SQL) > 100
    assert scanning == {}, json.dumps(scanning, indent=1)


@pytest.mark.parametrize("vacuumed", [False, True])
async def test_what_no_row_meets_is_found_out_in_an_index_however_often_it_is_asked(
    environ: dict[str, str], large_database: str, postgres_server: PostgresServer, vacuumed: bool
) -> None:
    """各有许多、合起来一张也没有，或一张也没有：头几遍与预备了之后的通用计划都不沿整张表去找。"""
    environ |= {"KAGUAN_DATABASE__URL": large_database, "KAGUAN_DATABASE__POOL_MAX": "1"}
    environ |= {"KAGUAN_API__BACKLOG_LIMIT": "1"}
    with psycopg.connect(postgres_server.admin_url_of(large_database.rpartition("/")[2]), autocommit=True) as direct:
        direct.execute(TESTING, [ROWS // 5])
        direct.execute("vacuum analyze tb_sim" if vacuumed else "analyze tb_sim")
        if not vacuumed:
            direct.execute("update pg_class set relallvisible = 0 where relname = 'tb_sim'")
    async with serving(load_settings(environ), name="vacuumed" if vacuumed else "imported") as api:
        plans = await watched(api)
        touched: Counter[str] = Counter()
        for none, many in APART:
            for path in 2 * BEYOND_GENERIC * [many, none]:
                assert (await api.get(path)).status == 200
                seen = plans.take_blocks_by_statement().items()
                if path == none:  # 后台的积压估计也走这条连接；列表的由 SQLAlchemy 写
                    most = sum(blocks for text, blocks in seen if text.startswith("SELECT "))
                    touched[path] = max(touched[path], most)
        assert {path: blocks for path, blocks in touched.items() if not 0 < blocks <= ROWS // 100} == {}
