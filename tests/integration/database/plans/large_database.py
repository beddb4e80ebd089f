"""一个每张大表都有 10 万行的库，和在执行计划里找全表扫描的办法。"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from kaguan.product.tables import metadata
from tests.support.servers import alone

PARTIAL = {
    index.name
    for table in metadata.tables.values()
    for index in table.indexes
    if index.dialect_options["postgresql"]["where"] is not None
}
READS_ALL = frozenset({"Sort", "Aggregate", "Hash", "WindowAgg", "Materialize", "HashSetOp"})
ROWS = int(os.environ.get("KAGUAN_LARGE_ROWS", "100000"))  # 任务有两倍
BIG_TABLES = frozenset(
    {
        "tb_user",
        "tb_order",
        "tb_sim",
        "tb_sim_profile",
        "tb_sim_task",
        "tb_sim_usage",
        "tb_sim_event",
        "tb_sim_change",
        "tb_sim_receipt",
        "tb_task",
        "tb_task_event",
        "tb_outbox",
        "tb_email_delivery",
        "tb_idempotency_key",
    }
)

# 第 n 个任务号：时间戳部分递增，形如 UUIDv7
TASK = "(lpad(to_hex(1700000000000 + n), 12, '0') || '70008000000000000000')::uuid"
CREATED = "timestamptz '2026-01-01T00:00:00Z' + n * interval '1 second'"  # 共两天多
FILL = (
    """
    insert into tb_user (username, email, password_hash, status)
    select 'user' || n, 'user' || n || '@example.com', 'x',
           (array['active', 'active', 'active', 'inactive', 'banned'])[n % 5 + 1]
    from generate_series(1, {rows}) as n
    """,
    """
    insert into tb_order (order_id, user_id, amount, created_at, status)
    select 'ORD' || n, n % 20000 + 1, n, {created},
           (array['pending', 'paid', 'processing', 'completed', 'completed', 'cancelled'])[n % 6 + 1]
    from generate_series(1, {rows}) as n
    """,
    """
    insert into tb_sim (iccid, carrier, luhn_valid, created_at, lifecycle_state, eid, msisdn, imsi, imei, plan,
                        group_name, customer, tags)
    select '8986' || lpad(n::text, 16, '0'), (array['onelink', 'control_center'])[n % 2 + 1], true, {created},
           (array['active', 'active', 'suspended', 'inventory', 'cancelled'])[n % 5 + 1],
           '89' || lpad(n::text, 30, '0'), '10647' || lpad(n::text, 8, '0'), '46004' || lpad(n::text, 10, '0'),
           '86' || lpad(n::text, 13, '0'), 'plan' || n % 5, 'group' || n % 500, 'customer' || n % 1000,
           array['all', 'one of 2000-' || n % 2000]
    from generate_series(1, {rows}) as n
    """,
    """
    insert into tb_sim_profile (sim_id, iccid, carrier, since)
    select n, '8985' || lpad(n::text, 16, '0'), 'onelink', now() from generate_series(1, {rows}) as n
    """,
    """
    insert into tb_sim_task (sim_id, task_id) select n, {task} from generate_series(1, {rows}) as n
    """,
    """
    insert into tb_sim_usage (iccid, day, carrier, data_bytes)
    select '8986' || lpad((n % 2000)::text, 16, '0'), date '2026-01-01' + n / 2000, 'onelink', n
    from generate_series(1, {rows}) as n
    """,
    """
    insert into tb_sim_event (iccid, old_state, new_state, source)
    select '8986' || lpad(n::text, 16, '0'), 'active', 'suspended', 'onelink' from generate_series(1, {rows}) as n
    """,
    """
    insert into tb_sim_change (change, reason, requested_by, requested_at, request_id, asked, cards)
    select 'suspend', 'r', 'p', {created}, 'r' || n, '{{}}', 1000 from generate_series(1, {rows}) as n
    """,
    """
    insert into tb_sim_receipt (change_id, iccid, task_id, status, settled_at)
    select n / 1000 + 2, '8986' || lpad((n % 20000)::text, 16, '0'), {task},
           (array['pending', 'succeeded'])[least(n % 100, 1) + 1],
           case when n % 100 <> 0 then now() end
    from generate_series(1, {rows}) as n
    """,
    """
    insert into tb_task (id, type, queue, principal, request_id, payload, max_attempts, status, finished_at)
    select {task}, (array['email:send', 'data:sync', 'sim:status_sync'])[n % 3 + 1],
           (array['critical', 'default', 'low'])[n % 3 + 1], 'p', 'r' || n, '{{}}', 6,
           case when status in ('queued', 'running') then 'pending' else status end,
           case when status in ('succeeded', 'failed') then now() - make_interval(mins => n % 50000) end
    from (
        select n, case when n % 2 = 0 then 'pending' when n % 101 = 0 then 'failed' when n % 41 = 0 then 'queued'
                       when n % 4001 = 0 then 'running' when n % 4003 = 0 then 'uncertain' else 'succeeded'
                  end as status
        from generate_series(1, {rows} * 2) as n
    ) as seeds
    """,
    """
    insert into tb_outbox (task_id, delivery, type, priority, principal)
    select id, delivery, type, case queue when 'critical' then 0 when 'default' then 1 else 2 end, principal
    from tb_task where status = 'pending' and substr(request_id, 2)::int % 2 = 0
    """,
    """
    insert into tb_work (task_id, delivery, priority, queued_at, claim_id, attempt, worker, started_at, lease_until)
    select id, 1, case queue when 'critical' then 0 when 'default' then 1 else 2 end,
           now() - interval '10 minutes', case when running then gen_random_uuid() end,
           case when running then 1 end, case when running then 'w1' end,
           case when running then now() end, case when running then now() + interval '15 seconds' end
    from tb_task, lateral (select substr(request_id, 2)::int % 41 <> 0) as held (running)
    where status = 'pending' and substr(request_id, 2)::int % 2 = 1
    """,
    """
    insert into tb_ended (at, type, queue, status)
    select finished_at, type, queue, status from tb_task where finished_at is not null order by finished_at
    """,
    """
    insert into tb_task_event (task_id, kind, attempt, delivery)
    select id, 'attempt_failed', 1, 1 from tb_task limit {rows}
    """,
    """
    insert into tb_email_delivery (task_id, recipient, message_id, attempt)
    select {task}, 'a@example.com', 'm', 1 from generate_series(1, {rows}) as n
    """,
    """
    insert into tb_idempotency_key (principal, key, fingerprint, expires_at)
    select 'p', 'k' || n, decode(repeat('00', 32), 'hex'), now() + make_interval(mins => n)
    from generate_series(1, {rows}) as n
    """,
)
NOT_ALL_VISIBLE = "select count(*) from pg_class where relname = any(%s) and relallvisible < relpages"


def fill(url: str) -> None:
    """把每张大表填到至少 ``ROWS`` 行，并让统计信息与可见性映射是新的；``url`` 是超级用户的。"""
    # 引用的都在：外键不必逐行去查
    options = "-c synchronous_commit=off -c session_replication_role=replica"
    with psycopg.connect(url, autocommit=True, options=options) as connection:
        insert(connection, ROWS)
        left = 1
        while left:  # 自动分析的快照若比这些行老，页就成不了全可见的，只看索引的也要一行行去取：等它收了
            connection.execute("vacuum analyze")
            [(left,)] = connection.execute(NOT_ALL_VISIBLE, [[*BIG_TABLES, "tb_work"]]).fetchall()


def insert(connection: psycopg.Connection, rows: int, tables: frozenset[str] = BIG_TABLES | {"tb_work"}) -> None:
    """``tables`` 里每张大表添至少 ``rows`` 行；统计信息不动。"""
    for statement in FILL:
        if statement.split()[2] not in tables:
            continue
        connection.execute(statement.format(rows=rows, task=TASK, created=CREATED).encode())


def scans(plan: dict[str, Any], *, stops: bool = False, limited: bool = False) -> Iterator[str]:
    """计划里看遍的大表：顺序扫描；没有条件地沿着索引走也是，除非数到够了就停（``stops``）。

    部分索引里只有在等的：上面限了个数的（``limited``），没有几个时先排好也行。
    """
    kind, children = plan["Node Type"], plan.get("Plans", [])
    walked = [node["Index Name"] for node in (plan, *children) if "Index Name" in node and "Index Cond" not in node]
    fits = stops or (limited and PARTIAL.issuperset(walked))
    if plan.get("Relation Name") in BIG_TABLES and (kind == "Seq Scan" or (walked and not fits)):
        yield plan["Relation Name"]
    for child in children:
        # 里面另起的、内层的，各走各的
        first = child["Parent Relationship"] in {"Outer", "Member", "Subquery"}
        yield from scans(
            child,
            stops=first and (kind == "Limit" or (stops and kind not in READS_ALL)),
            limited=first and (kind == "Limit" or limited),
        )


def blocks(plan: dict[str, Any]) -> int:
    """执行时碰过的 8 KiB 块：在不在缓存里都算，与机器快慢无关。"""
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def rows_seen(plan: dict[str, Any]) -> int:
    """各个节点给出的与看过又丢掉的行，合计；与机器快慢、缓存都无关。"""
    removed = ("Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck")
    each: float = plan["Actual Rows"] + sum(plan.get(name, 0) for name in removed)
    loops: int = plan["Actual Loops"]
    return round(each * loops) + sum(rows_seen(child) for child in plan.get("Plans", []))


@contextmanager
def copy_of_template(admin: psycopg.Connection, template: str, name: str) -> Iterator[str]:
    """模板库的一份副本，每条语句执行之后把计划作为 NOTICE 发给客户端（auto_explain）。"""
    alone(admin, f"CREATE DATABASE {name} TEMPLATE {template}")
    for setting, value in (
        ("session_preload_libraries", "auto_explain"),
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_analyze", "on"),
        ("auto_explain.log_buffers", "on"),
        ("auto_explain.log_timing", "off"),
        ("auto_explain.log_format", "json"),
        ("auto_explain.log_level", "notice"),
    ):
        admin.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'".encode())
    yield name
    alone(admin, f"DROP DATABASE {name} WITH (FORCE)")
