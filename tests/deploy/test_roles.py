"""三个角色的脚本：建库时由 init.sh 跑，之后再跑一遍也一样；主人迁移，应用只读写行，看的人看不见散列。"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction

from kaguan.database.migrate import upgrade
from kaguan.dev.binaries import postgres_bin
from tests.deploy.shipping import DEPLOY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kaguan.dev.postgres import PostgresServer

ROLES = ("kaguan_owner", "kaguan_app", "kaguan_read")
PASSWORD = "only-for-this-test"
DATABASE = "roles"


@pytest.fixture
def administered(postgres_server: PostgresServer, admin: psycopg.Connection) -> Iterator[str]:
    """一个空库，照脚本建了角色；管理员的地址。"""
    admin.execute(f"create database {DATABASE}")
    yield postgres_server.admin_url_of(DATABASE)
    admin.execute(f"drop database {DATABASE} with (force)")
    for role in ROLES:
        admin.execute(f"drop role if exists {role}")


def apply(url: str) -> None:
    command = [str(postgres_bin(None) / "psql"), "-qX", "-v", "ON_ERROR_STOP=1", "-d", url, "-f"]
    done = subprocess.run(
        [*command, str(DEPLOY / "postgres" / "roles.sql")], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def initialise(url: str, place: Path) -> None:
    """postgres 镜像第一次建库时跑的那一个；路径换成这里的。"""
    for role in ("kaguan_owner", "kaguan_app"):
        (place / role).write_text(f"{PASSWORD}\n")
    text = (DEPLOY / "postgres" / "init.sh").read_text("utf-8")
    text = text.replace("/etc/kaguan", str(DEPLOY / "postgres")).replace("/run/secrets", str(place))
    given = psycopg.conninfo.conninfo_to_dict(url)
    environ = {
        "PATH": f"{postgres_bin(None)}:{os.environ['PATH']}",
        "PGHOST": str(given["host"]), "PGPORT": str(given["port"]), "PGPASSWORD": str(given["password"]),
        "POSTGRES_DB": DATABASE, "POSTGRES_USER": str(given["user"]),
    }  # fmt: skip
    done = subprocess.run(["sh", "-c", text], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def as_role(url: str, role: str) -> str:
    return psycopg.conninfo.make_conninfo(url, user=role, password=PASSWORD)


def refused(connection: psycopg.Connection, statement: str) -> None:
    with pytest.raises((InsufficientPrivilege, ReadOnlySqlTransaction)):
        connection.execute(statement.encode())


def test_each_role_can_do_its_work_and_no_more(
    administered: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    initialise(administered, tmp_path)
    with psycopg.connect(administered, autocommit=True) as administrator:
        administrator.execute(f"alter role kaguan_read password '{PASSWORD}'".encode())
    address = postgres_server.admin_url_of(DATABASE).partition("@")[2]
    upgrade(f"postgresql://kaguan_owner:{PASSWORD}@{address}")
    apply(administered)  # 迁移之后再跑一遍，看的人才看得见新表
    with psycopg.connect(as_role(administered, "kaguan_app"), autocommit=True) as application:
        application.execute("insert into tb_user (username, email, password_hash) values ('abc', 'a@example.com', 'x')")
        for statement in ("drop table tb_task", "truncate tb_task", "create table x (id int)", "create role y"):
            refused(application, statement)
    with psycopg.connect(as_role(administered, "kaguan_read"), autocommit=True) as reader:
        assert reader.execute("select username from tb_user").fetchall() == [("abc",)]
        reader.execute("select * from tb_task, tb_outbox, tb_audit")
        for statement in (
            "select password_hash from tb_user", "select * from tb_api_token", "select * from tb_session",
            "select * from tb_idempotency_key", "insert into tb_user (username) values ('b')", "delete from tb_task",
        ):  # fmt: skip
            refused(reader, statement)
        assert reader.execute("show statement_timeout").fetchone() == ("30s",)
