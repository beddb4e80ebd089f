"""三个角色的脚本：建库时由 init.sh 跑，之后再跑一遍也一样；主人迁移，应用只读写行，看的人看不见散列。"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction

from kaguan.database.migrate import upgrade
from kaguan.dev.binaries import postgres_bin
from kaguan.dev.postgres import PostgresServer
from tests.deploy.shipping import DEPLOY
from tests.support.eventually import PATIENCE
from tests.support.roles import APPLICATION, OWNER, PASSWORD, READER, apply_roles, as_role, empty_database

DATABASE = "roles"


@pytest.fixture
def administered(postgres_server: PostgresServer, admin: psycopg.Connection) -> Iterator[str]:
    with empty_database(postgres_server, admin, DATABASE) as url:
        yield url


def initialise(url: str, place: Path) -> None:
    """postgres 镜像第一次建库时跑的那一个；路径换成这里的。"""
    for role in (OWNER, APPLICATION):
        (place / role).write_text(f"{PASSWORD}\n")
    text = (DEPLOY / "postgres" / "init.sh").read_text("utf-8")
    text = text.replace("/etc/kaguan", str(DEPLOY / "postgres")).replace("/run/secrets", str(place))
    given = psycopg.conninfo.conninfo_to_dict(url)
    environ = {
        "PATH": f"{postgres_bin(None)}:{os.environ['PATH']}",
        "PGHOST": str(given["host"]),
        "PGPORT": str(given["port"]),
        "PGPASSWORD": str(given["password"]),
        "POSTGRES_DB": DATABASE,
        "POSTGRES_USER": str(given["user"]),
    }
    done = subprocess.run(
        ["sh", "-c", text], env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def refused(connection: psycopg.Connection, statement: str) -> None:
    with pytest.raises((InsufficientPrivilege, ReadOnlySqlTransaction)):
        connection.execute(statement.encode())


def test_each_role_can_do_its_work_and_no_more(administered: str, tmp_path: Path) -> None:
    initialise(administered, tmp_path)
    with psycopg.connect(administered, autocommit=True) as administrator:
        administrator.execute(f"alter role {READER} password '{PASSWORD}'".encode())
    upgrade(as_role(administered, OWNER))
    apply_roles(administered)  # 迁移之后再跑一遍，看的人才看得见新表
    with psycopg.connect(as_role(administered, APPLICATION), autocommit=True) as application:
        application.execute("insert into tb_user (username, email, password_hash) values ('abc', 'a@example.com', 'x')")
        application.execute("select status from vw_task")
        for statement in ("drop table tb_task", "truncate tb_task", "create table x (id int)", "create role y"):
            refused(application, statement)
    with psycopg.connect(as_role(administered, READER), autocommit=True) as reader:
        assert reader.execute("select username from tb_user").fetchall() == [("abc",)]
        reader.execute("select * from tb_task, tb_work, vw_task, tb_outbox, tb_audit")
        for statement in (
            "select password_hash from tb_user",
            "select * from tb_api_token",
            "select * from tb_session",
            "select * from tb_idempotency_key",
            "insert into tb_user (username) values ('b')",
            "delete from tb_task",
        ):
            refused(reader, statement)
        assert reader.execute("show statement_timeout").fetchone() == ("30s",)


def test_a_reader_who_lifts_the_defaults_still_leaves_nothing_and_a_stranger_stays_outside(
    administered: str, admin: psycopg.Connection
) -> None:
    for _ in range(2):  # 再跑一遍也一样
        apply_roles(administered)
    admin.execute(f"alter role {READER} password '{PASSWORD}'".encode())
    with psycopg.connect(as_role(administered, READER), autocommit=True) as reader:
        reader.execute("set default_transaction_read_only = off; set statement_timeout = 0")
        for statement in (
            "create temp table x (id int)",
            "select lo_from_bytea(0, 'x')",
            "select lo_create(0)",
            "set temp_file_limit = -1",
        ):
            refused(reader, statement)
        limit = admin.execute("select rolconnlimit from pg_roles where rolname = %s", (READER,))
        assert limit.fetchone() == (5,)
        assert reader.execute("show temp_file_limit").fetchone() == ("1GB",)
    admin.execute(f"create role stranger login password '{PASSWORD}'".encode())
    try:
        with pytest.raises(psycopg.OperationalError, match="CONNECT"):
            psycopg.connect(as_role(administered, "stranger"))
    finally:
        admin.execute("drop role stranger")
