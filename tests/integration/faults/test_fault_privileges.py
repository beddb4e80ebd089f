"""最小权限：三个进程用的角色与 Redis 用户只做得了该做的（FAULTS.md 53、54）。授权的语句照抄自 docs/FAULTS.md。"""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from kaguan.config import load_settings
from kaguan.database.pool import open_pool
from kaguan.outbox.relay.retention import Retention
from tests.support.eventually import eventually
from tests.support.fault_plant import (
    EFFECT_TABLE,
    QUICK,
    Effects,
    all_closed,
    effects,
    own_directory,
    own_valkey,
    relaying,
)
from tests.support.pipeline import open_pipeline
from tests.support.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from kaguan.config import Settings

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "FAULTS.md"
PASSWORD = "only-for-this-test"
DATABASE, REDIS = "KAGUAN_DATABASE__URL", "KAGUAN_REDIS__URL"


def printed(language: str) -> str:
    """文档里那一段代码。"""
    found = re.search(rf"```{language}\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found.group(1)


def as_user(url: str, user: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{user}:{quote(PASSWORD)}@{parts.hostname}:{parts.port}").geturl()


@pytest.fixture
def role(admin: psycopg.Connection, database_url: str) -> Iterator[str]:
    """以库的主人照文档授权；返回进程该用的地址。"""
    admin.execute(f"create role kaguan_app login password '{PASSWORD}'".encode())
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(EFFECT_TABLE)
        for statement in printed("sql").split(";"):
            if statement.strip():
                owner.execute(statement.encode())
    yield as_user(database_url, "kaguan_app")
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("revoke all on all tables in schema public from kaguan_app")
    admin_database = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    with psycopg.connect(
        psycopg.conninfo.make_conninfo(admin.info.dsn, dbname=admin_database, password=admin.info.password),
        autocommit=True,
    ) as inside:
        inside.execute("drop owned by kaguan_app")
    admin.execute("drop role kaguan_app")


async def works(settings: Settings) -> None:
    """受理、转交、执行、核对、重投，一圈走完。"""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(settings.database, "test"))
        pipeline = await stack.enter_async_context(open_pipeline(settings, pool))
        await pipeline.epoch.run_once()
        await stack.enter_async_context(pipeline.working(Effects()))
        await stack.enter_async_context(relaying(pipeline))
        api = await stack.enter_async_context(serving(settings))
        mail = {"to": ["a@example.com"], "subject": "s", "body": "b"}
        for number in range(3):
            assert (await api.call("POST", "/tasks/email", mail, {"Idempotency-Key": f"k{number}"})).code == 0
        user = {"username": "zhangsan", "email": "z@example.com", "password": "correct horse"}
        assert (await api.post("/users", user)).code == 0
        assert (await api.get("/tasks")).code == 0
        await pipeline.submit(10)
        await eventually(lambda: all_closed(pipeline), timeout=30)
        await pipeline.redis.delete("kaguan:epoch")
        await pipeline.submit(5)
        await eventually(lambda: all_closed(pipeline), timeout=30)
        async with api.session.get("/health") as health:
            assert health.status == 200
        assert await Retention(pool, settings.tasks).run_once() == 0
        assert await effects(pipeline) == (19, 19)


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
async def restricted() -> AsyncIterator[str]:
    """照文档设的 Redis 用户；返回进程该用的地址。"""
    with own_directory() as directory:
        async with own_valkey(directory) as (server, _), Redis.from_url(server.url) as client:
            rules = printed("redis").replace("<密码>", PASSWORD).split()
            assert rules[:3] == ["ACL", "SETUSER", "kaguan"]
            await client.execute_command(*rules)  # type: ignore[no-untyped-call] # redis-py 没有这里的类型
            yield as_user(server.url, "kaguan")


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
