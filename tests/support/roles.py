"""照 ``deploy/postgres/roles.sql`` 建了三个角色的库。"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from kaguan.database.migrate import upgrade
from kaguan.dev.binaries import postgres_bin
from kaguan.dev.postgres import PostgresServer
from tests.support.eventually import PATIENCE
from tests.support.repository import ROOT
from tests.support.servers import alone

SCRIPT = ROOT / "deploy" / "postgres" / "roles.sql"
OWNER, APPLICATION, READER = ROLES = ("kaguan_owner", "kaguan_app", "kaguan_read")
PASSWORD = "only-for-this-test"


def apply_roles(url: str) -> None:
    """以 ``url`` 的管理员跑脚本。"""
    command = [str(postgres_bin(None) / "psql"), "-qX", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def as_role(url: str, role: str) -> str:
    """``url`` 的库，换成 ``role``。"""
    return f"postgresql://{role}:{PASSWORD}@{url.partition('@')[2]}"


@contextmanager
def empty_database(server: PostgresServer, admin: psycopg.Connection, name: str) -> Iterator[str]:
    """一个空库，离开时连同三个角色一起删；给出管理员的地址。"""
    admin.execute(f"create database {name}".encode())
    try:
        yield server.admin_url_of(name)
    finally:
        alone(admin, f"drop database {name} with (force)")
        for role in ROLES:
            admin.execute(f"drop role if exists {role}".encode())


@contextmanager
def database_with_roles(server: PostgresServer, admin: psycopg.Connection, name: str) -> Iterator[str]:
    """建角色、设口令、由主人迁移；给出管理员的地址。"""
    with empty_database(server, admin, name) as url:
        apply_roles(url)
        for role in ROLES:
            admin.execute(f"alter role {role} password '{PASSWORD}'".encode())
        upgrade(as_role(url, OWNER))
        yield url
