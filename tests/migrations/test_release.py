"""结构、库、HTTP、命令行、配置变了而版本没有变，在这里就红。"""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.deploy import previous
from tests.migrations.release import RECORDED, differences, facts, release

COMMAND = "python -m tests.migrations.release"


def test_the_schema_and_what_users_see_are_those_recorded_for_this_version(database_url: str) -> None:
    recorded, found = json.loads(RECORDED.read_text("utf-8")), release(database_url)
    if recorded["version"] != found["version"]:
        pytest.fail(f"记下的是 {recorded['version']}，版本是 {found['version']}：{COMMAND} 重新记下")
    if changed := differences(recorded["facts"], found["facts"]):
        told = "\n".join(changed)
        pytest.fail(
            f"与记下的 {recorded['version']} 不同：\n{told}\n"
            f"它还没有发布，就 {COMMAND} 重新记下；发布了，就在 pyproject.toml 里升版本，再记下"
        )


def test_a_change_of_any_table_index_view_or_function_is_named(database_url: str) -> None:
    before = facts(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("alter table tb_user add column colour text")
        connection.execute("drop index ix_tb_order_live_id")
        connection.execute("create view vw_user as select id from tb_user")
        connection.execute("create function own() returns int language sql return 1")
    assert differences(before, facts(database_url)) == [
        "schema: own() 是新的",
        "schema: tb_order 变了",
        "schema: tb_user 变了",
        "schema: vw_user 是新的",
    ]


def test_a_changed_and_a_removed_name_are_told_apart() -> None:
    before = {"http": {"GET /a": "1", "GET /b": "2"}, "library": {"accept": "3"}}
    now = {"http": {"GET /a": "1", "GET /b": "9"}, "library": {}}
    assert differences(before, now) == ["http: GET /b 变了", "library: accept 没有了"]


@pytest.mark.skipif(previous.is_partial(), reason="浅的克隆，没有从前的提交")
def test_a_migration_that_the_previous_version_ran_is_as_it_ran_it() -> None:
    """改了跑过的，旧库不会再跑一遍：升级那一关得从改它的那个提交走起。"""
    assert (
        previous.changed(
            "migrations/versions", "src/kaguan/outbox/schema_*.sql", "src/kaguan/outbox/accept/sql/outbox_accept.sql"
        )
        == []
    ), "把 tests/deploy/previous.py 的 COMMIT 挪到改它的提交"
