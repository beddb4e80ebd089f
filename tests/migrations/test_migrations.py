"""迁移：上、下、再上；模型与迁移一致。"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError

from kaguan.database import migrate
from kaguan.database.migrate import Status
from kaguan.database.revisions import revisions
from tests.support.upgrading import NEXT, NOW, OUTBOX, RECORD, next_release


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[tuple[str]]]:
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


def tables(connection: psycopg.Connection[tuple[str]]) -> set[str]:
    rows = connection.execute("select table_name from information_schema.tables where table_schema = 'public'")
    return {row[0] for row in rows} - {"alembic_version"}


def test_down_removes_everything_and_up_brings_it_back(
    database_url: str, connection: psycopg.Connection[tuple[str]]
) -> None:
    before = tables(connection)
    assert "tb_task" in before
    migrate.downgrade(database_url, "base")
    assert tables(connection) == set()
    migrate.upgrade(database_url)
    assert tables(connection) == before


def test_the_names_of_the_files_tell_the_revisions_in_their_order() -> None:
    with next_release() as scripts:
        walked = ScriptDirectory.from_config(migrate.configuration("", scripts)).walk_revisions()
        assert [script.revision for script in walked][::-1] == revisions(scripts)


def test_models_and_migrations_agree(database_url: str) -> None:
    configuration = migrate.configuration(database_url)
    try:
        command.check(configuration)
    except CommandError as difference:
        pytest.fail(str(difference))


def test_every_single_step_up_goes_through(database_url: str) -> None:
    """一次升一版：拿着锁的那条连接什么也不许拿着，不然建索引等的正是它。"""
    migrate.downgrade(database_url, "base")
    with next_release() as scripts:
        for revision in (NOW, RECORD, OUTBOX, NEXT):
            migrate.upgrade(database_url, "+1", scripts)
            assert migrate.status(database_url, scripts) == Status(revision, NEXT)


@pytest.mark.parametrize("change", [migrate.upgrade, partial(migrate.downgrade, revision="base")])
def test_a_database_of_a_build_before_the_first_release_is_refused_in_words(
    database_url: str, connection: psycopg.Connection[tuple[str]], change: Callable[[str], None]
) -> None:
    connection.execute("update alembic_version set version_num = '0022'")
    before = tables(connection)
    with pytest.raises(migrate.UnreleasedError, match=r"先导出 / .* \(0022\)"):
        change(database_url)
    assert tables(connection) == before
