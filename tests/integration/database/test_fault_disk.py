"""磁盘写满，PostgreSQL 的与 Redis 的：拒收说得清，一个不丢，腾出地方就恢复（FAULTS.md 43）。

有 root 时是真的小文件系统（tmpfs，ENOSPC）；不许挂载时由触发器与 min-replicas-to-write 造出同样的拒收。
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import psycopg
import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from kaguan.config import load_settings
from kaguan.database.pool import Pool
from tests.support.eventually import eventually
from tests.support.fault_plant import (
    EFFECT_TABLE,
    QUICK,
    Effects,
    all_closed,
    effects,
    own_directory,
    own_postgres,
    own_valkey,
    relaying,
)
from tests.support.pipeline import open_pipeline
from tests.support.serving import Api, serving

MAIL = {"to": ["a@example.com"], "subject": "s"}
DATABASE = "KAGUAN_DATABASE__URL"


@pytest.fixture
def directory() -> Iterator[Path]:
    with own_directory() as made:
        yield made


class SmallDisk:
    """一个小文件系统，可以写满、可以腾空。"""

    def __init__(self, place: Path) -> None:
        self.filler = place / "filler"

    def fill(self) -> None:
        with self.filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 65_536)
            except OSError:
                return

    def free(self) -> None:
        self.filler.unlink(missing_ok=True)


class RefusedInserts:
    """不许挂载时的替身：触发器给出磁盘满时的 SQLSTATE（53100），客户端看到的一样。"""

    def __init__(self, url: str) -> None:
        self.url = url

    def _run(self, *statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def fill(self) -> None:
        self._run(
            "create or replace function full_disk() returns trigger language plpgsql as"
            " $$ begin raise exception 'No space left on device' using errcode = '53100'; end $$",
            "create trigger full_disk before insert on tb_task execute function full_disk()",
        )

    def free(self) -> None:
        self._run("drop trigger if exists full_disk on tb_task")


@contextmanager
def small_filesystem(place: Path) -> Iterator[bool]:
    """把 ``place`` 变成 96 MiB 的 tmpfs；没有权限就算了。"""
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m,mode=711", "tmpfs", str(place)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=False)


@asynccontextmanager
async def on_a_small_disk(
    directory: Path, environ: dict[str, str]
) -> AsyncIterator[tuple[Api, SmallDisk | RefusedInserts]]:
    with small_filesystem(directory) as mounted:
        async with own_postgres(directory) as (server, _):
            disk = SmallDisk(directory) if mounted else RefusedInserts(server.url)
            settings = load_settings({**environ, DATABASE: server.url, "KAGUAN_DATABASE__ACQUIRE_TIMEOUT": "1"})
            async with serving(settings) as api:
                try:
                    yield api, disk
                finally:
                    disk.free()


async def test_a_full_disk_under_postgresql_is_a_503_and_nothing_is_lost_or_broken(
    environ: dict[str, str], directory: Path
) -> None:
    async with on_a_small_disk(directory, environ) as (api, disk):
        accepted: set[str] = set()

        async def post() -> int:
            reply = await api.post("/tasks/email", {**MAIL, "body": os.urandom(400_000).hex()})
            if reply.code == 0:
                accepted.add(reply.data["task_id"])
            return reply.code

        async def taken() -> bool:
            return await post() == 0

        await eventually(taken)
        disk.fill()

        async def refused() -> bool:
            return await post() == 2002

        await eventually(refused)

        async def told() -> bool:
            await post()
            async with api.session.get("/health") as answer:
                return answer.status == 503

        await eventually(told)
        assert (await api.get("/users")).status in {200, 503}  # 读得到，或明说不可用；从不 500
        disk.free()
        await eventually(taken)
        kept = {str(row[0]) for row in await api.rows("select id from vw_task join tb_outbox on task_id = id")}
        assert accepted <= kept


async def test_a_full_disk_under_redis_marks_nothing_and_everything_comes_later(
    environ: dict[str, str], pool: Pool, directory: Path
) -> None:
    """AOF 写不下去的 Valkey 拒绝一切写入（MISCONF）。没有 root 就用它自己的 min-replicas-to-write 造同一种拒收。"""
    place = directory / "small"
    place.mkdir(mode=0o711)
    async with AsyncExitStack() as stack:
        mounted = stack.enter_context(small_filesystem(place))
        server, _ = await stack.enter_async_context(own_valkey(place, append_only=True))
        client = await stack.enter_async_context(Redis.from_url(server.url))
        settings = load_settings({**environ, **QUICK, "KAGUAN_REDIS__URL": server.url})
        pipeline = await stack.enter_async_context(open_pipeline(settings, pool))
        await pipeline.sql(EFFECT_TABLE)
        await pipeline.epoch.run_once()
        disk = SmallDisk(place)
        if mounted:
            disk.fill()
            await eventually(lambda: refuses_writes(client))
        else:
            await client.config_set("min-replicas-to-write", "1")
        await pipeline.submit(10)
        with pytest.raises(ResponseError, match=r"MISCONF|NOREPLICAS"):
            await pipeline.forwarder.run_once()
        assert await pipeline.sql("select count(*) from tb_outbox") == [(10,)]
        async with pipeline.working(Effects()), relaying(pipeline):
            disk.free()
            await client.config_set("min-replicas-to-write", "0")
            await eventually(lambda: all_closed(pipeline))
        assert await effects(pipeline) == (10, 10)


async def refuses_writes(client: Redis) -> bool:
    try:
        await client.set("junk", b"x" * 10_000)
    except ResponseError as error:
        return "MISCONF" in str(error)
    return False
