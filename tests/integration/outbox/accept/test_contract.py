"""受理的约定：``vectors.json`` 的每个样例，只用 SQL；谁的 search_path 都一样，两种语言写的同一个 JSON 也一样。"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from kaguan.outbox.accept.contract import definition

VECTORS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("vectors.json").read_text("utf-8"))
ACCEPT = "select place, task_id::text, status, outcome from outbox_accept(%s::jsonb)"
TASK = {"type": "a:b", "payload": {"n": 1}, "max_attempts": 1}
# 同样多的任务、键、手里的活
GROWN = """
with task as (
    insert into tb_task (id, type, queue, principal, request_id, payload, max_attempts, ordering_key, ordering_seq)
    select gen_random_uuid(), 'a:b', 'default', 'system', n::text, '{"n": 1}', 1, n::text, 1
    from generate_series(1, 5000) as n
    returning id, ordering_key
), line as (
    insert into tb_ordering (principal, key, last_seq, head) select 'system', ordering_key, 1, id from task
)
insert into tb_work (task_id, delivery, priority) select id, 1, 1 from task
"""
Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True, options="-c timezone=UTC") as opened:
        yield opened


def ask(connection: Connection, tasks: Any) -> list[tuple[Any, ...]]:
    return connection.execute(ACCEPT, [json.dumps(tasks)]).fetchall()


def test_each_vector_holds(connection: Connection) -> None:
    for vector in VECTORS:
        connection.execute("truncate tb_task, tb_outbox, tb_ordering, tb_task_event, tb_work")
        try:
            holds(connection, vector)
        except BaseException as failure:
            failure.add_note(vector["name"])
            raise


def holds(connection: Connection, vector: dict[str, Any]) -> None:
    named: dict[str, str] = {}  # 号 → 样例里叫它什么；没有事先说定的号，按露面的次序是 A、B、C……

    def name(task_id: str) -> str:
        return named.setdefault(task_id, task_id if task_id in vector["stored"] else chr(ord("A") + len(named)))

    for call in vector["calls"]:
        if "refused" in call:
            with pytest.raises(psycopg.errors.InvalidParameterValue) as refusal:
                ask(connection, call["tasks"])
            assert str(refusal.value).startswith(call["refused"])
            assert connection.execute("select count(*) from tb_task").fetchone() == (0,)
            return
        told = [[place, name(task_id), *rest] for place, task_id, *rest in ask(connection, call["tasks"])]
        assert told == call["rows"]
    tasks = {
        named[str(row["id"])]: row for (row,) in connection.execute("select to_jsonb(t) from vw_task t order by id")
    }
    assert set(tasks) == set(named.values())
    stored = {one: {key: tasks[one][key] for key in wanted} for one, wanted in vector["stored"].items()}
    assert stored == vector["stored"]
    waiting = connection.execute("select task_id::text from tb_outbox").fetchall()
    assert sorted(named[row[0]] for row in waiting) == vector["waiting"]
    in_order = vector.get("in order", [])
    assert sorted(in_order, key=lambda one: tasks[one]["ordering_seq"]) == in_order
    assert all(UUID(task_id).version == 7 for task_id in named)


def test_numbers_rise_within_a_call(connection: Connection) -> None:
    ids = [row[1] for row in ask(connection, [TASK] * 300)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 300


@pytest.mark.direct("会话里的 search_path 与临时表，经连接池留给了别人")
def test_tables_are_found_whatever_the_search_path_of_the_caller(connection: Connection) -> None:
    connection.execute("create schema stranger")
    connection.execute("create table stranger.tb_task (like tb_task)")
    connection.execute("set search_path = stranger, pg_catalog")
    connection.execute("create temporary table tb_outbox (n int)")
    accept = ACCEPT.replace("outbox_accept", "public.outbox_accept")
    told = connection.execute(accept.encode(), [json.dumps([TASK, {**TASK, "ordering_key": "k"}])]).fetchall()
    assert [row[3] for row in told] == ["accepted", "accepted"]
    counts = "select (select count(*) from tb_task), (select count(*) from public.tb_outbox)"
    assert connection.execute(counts).fetchone() == (0, 2)


def test_two_schemas_have_each_their_own(connection: Connection, database_url: str) -> None:
    """函数装在哪个模式里，就只认那里的表。"""
    connection.execute("create schema other")
    for table in ("tb_task", "tb_outbox", "tb_ordering", "tb_work"):
        connection.execute(f"create table other.{table} (like public.{table} including all)".encode())
    with psycopg.connect(database_url) as installing:
        installing.execute("set local search_path = other")
        (view,) = connection.execute("select pg_get_viewdef('vw_task'::regclass)").fetchone() or ("",)
        installing.execute(f"create view vw_task as {view}".encode())
        installing.execute(definition())
    for schema in ("public", "other"):
        connection.execute(ACCEPT.replace("outbox_accept", f"{schema}.outbox_accept").encode(), [json.dumps([TASK])])
    counts = "select (select count(*) from public.tb_task), (select count(*) from other.tb_task)"
    assert connection.execute(counts).fetchone() == (1, 1)


def test_a_request_of_a_transaction_still_open_is_waited_for(connection: Connection, database_url: str) -> None:
    """等到的是它的结局：提交了就是首个，回滚了就轮到自己。"""
    request = {**TASK, "request_id": "r", "ordering_key": "k"}
    waiting = (
        "select count(*) = 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    )
    for ends, outcome in (("rollback", "accepted"), ("commit", "replayed")):
        connection.execute("truncate tb_task, tb_outbox, tb_ordering")
        with psycopg.connect(database_url) as first, psycopg.connect(database_url, autocommit=True) as second:
            ask(first, [request])
            second.pgconn.send_query_params(
                b"select outcome from outbox_accept($1::jsonb)", [json.dumps([request]).encode()]
            )
            while connection.execute(waiting).fetchone() != (True,):
                pass
            first.execute(ends.encode())
            told = second.pgconn.get_result()
            assert told is not None
            assert told.get_value(0, 0) == outcome.encode()
            second.pgconn.get_result()


@pytest.mark.direct("计划一遍就一直用的，是一条会话")
@pytest.mark.unjudged("任务是凭空造的")
def test_planned_while_the_tables_were_empty_it_still_finds_its_rows_by_an_index(
    connection: Connection, database_url: str
) -> None:
    """计划一遍就一直用；自动分析还没轮到。"""
    calls = [
        {**TASK, "request_id": "7"},
        {**TASK, "ordering_key": "7"},
        {**TASK, "request_id": "8", "ordering_key": "8"},
    ]
    for task in calls:
        ask(connection, [task, task])
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("delete from tb_task; delete from tb_outbox; delete from tb_ordering")
        other.execute(GROWN)
    with connection.transaction():
        for task in calls:
            ask(connection, [task])
        read = connection.execute("select sum(seq_tup_read) from pg_stat_xact_user_tables").fetchone()
    assert read == (0,)
