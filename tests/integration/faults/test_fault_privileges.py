"""最小权限：进程用的角色与 Redis 用户只做得了该做的（FAULTS.md 53、54）。用的就是交付的脚本，不是抄来的。"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from kaguan.config import load_settings
from kaguan.dev.ports import LOOPBACK
from tests.support.eventually import PATIENCE
from tests.support.fault_plant import EFFECT_TABLE, QUICK, own_directory, own_valkey
from tests.support.repository import ROOT
from tests.support.roles import APPLICATION, OWNER, as_role, database_with_roles
from tests.support.whole_way import works

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from kaguan.dev.postgres import PostgresServer

DEPLOY = ROOT / "deploy"
DATABASE, REDIS = "KAGUAN_DATABASE__URL", "KAGUAN_REDIS__URL"


@pytest.fixture
def role(postgres_server: PostgresServer, admin: psycopg.Connection) -> Iterator[str]:
    """照交付的脚本建角色、由主人迁移；给出进程该用的地址。"""
    with database_with_roles(postgres_server, admin, "privileges") as url:
        with psycopg.connect(as_role(url, OWNER), autocommit=True) as owner:
            owner.execute(EFFECT_TABLE)
        yield as_role(url, APPLICATION)


async def test_the_processes_work_with_a_role_that_may_only_read_and_write_rows(
    environ: dict[str, str], role: str
) -> None:
    await works(load_settings({**environ, **QUICK, DATABASE: role}))
    async with await psycopg.AsyncConnection.connect(role, autocommit=True) as connection:
        for statement in (
            "drop table tb_task",
            "truncate tb_task",
            "alter table tb_task add column x int",
            "create table x (id int)",
            "create role x",
            "copy tb_task to program 'true'",
            "alter system set fsync = off",
            "select pg_read_file('/etc/passwd')",
        ):
            with pytest.raises(InsufficientPrivilege):
                await connection.execute(statement.encode())


@pytest.fixture
async def restricted(tmp_path: Path) -> AsyncIterator[str]:
    """照交付的脚本写的用户文件设 Redis 的用户；给出进程该用的地址。"""
    written = tmp_path / "secrets"
    command = ["sh", str(DEPLOY / "make-secrets.sh"), str(written)]
    subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)  # noqa: ASYNC221 一瞬间
    _, name, *rules = (written / "users.acl").read_text().splitlines()[1].split()
    password = (written / "valkey").read_text().strip()
    with own_directory() as directory:
        async with own_valkey(directory) as (server, _), Redis.from_url(server.url) as client:
            await client.execute_command("ACL", "SETUSER", name, "reset", *rules)  # type: ignore[no-untyped-call] # redis-py 没有这里的类型
            yield f"redis://{name}:{password}@{LOOPBACK}:{server.port}/0"


async def test_the_processes_work_with_a_redis_user_that_cannot_administer(
    environ: dict[str, str], database_url: str, restricted: str
) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as owner:
        await owner.execute(EFFECT_TABLE)
    await works(load_settings({**environ, **QUICK, REDIS: restricted}))
    async with Redis.from_url(restricted) as client:
        for command in (
            ("FLUSHALL",), ("FLUSHDB",), ("CONFIG", "GET", "*"), ("CONFIG", "SET", "maxmemory", "1"), ("SHUTDOWN",),
            ("REPLICAOF", "NO", "ONE"), ("KEYS", "*"), ("ACL", "LIST"), ("SAVE",),
            ("GET", "someone:elses"), ("SET", "someone:elses", "x"),
        ):  # fmt: skip
            with pytest.raises(NoPermissionError):
                await client.execute_command(*command)  # type: ignore[no-untyped-call] # 同上
