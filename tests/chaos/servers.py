"""战役自己的 PostgreSQL 与 Valkey：可以被杀、被重启、被清空。"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from redis.asyncio import Redis

from kaguan.database.migrate import upgrade
from kaguan.dev.postgres import PostgresServer
from kaguan.dev.privileges import server_identity
from kaguan.dev.program import wait_until_ready
from kaguan.dev.valkey import ValkeyServer
from tests.power.mounted import powered
from tests.support.eventually import PATIENCE
from tests.support.places import PASSABLE, own_port, temporary_place
from tests.support.servers import UNSYNCED, in_memory_only, told

if TYPE_CHECKING:
    from tests.support.sentinel import Watched
    from tests.support.standby import Pair

from kaguan.dev.program import Program
from tests.power.mounted import PowerDisk

TEMPLATE = "chaos_template"
SMALL_LOG = ("min_wal_size=32MB", "max_wal_size=64MB")  # 那块盘在内存里；检查点也来得勤


@dataclass(eq=False, slots=True)
class Server:
    """一个服务器进程，停了可以再起。"""

    program: Program
    log: Path
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        await self.program.mend()
        with self.log.open("ab") as log:
            self.process = process = await asyncio.create_subprocess_exec(
                *self.program.argv, stdout=log, stderr=log, **self.program.spawn_options()
            )
        await wait_until_ready(replace(self.program, ready_timeout=PATIENCE), lambda: process.returncode is None)

    async def stop(self, number: signal.Signals | None = None) -> None:
        """发停止信号并等它退出；到时强杀。"""
        if self.process is None or self.process.returncode is not None:
            return
        self.process.send_signal(number or self.program.stop_signal)
        try:
            await asyncio.wait_for(self.process.wait(), PATIENCE / 6)
        except TimeoutError:
            os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()

    async def restart(self, number: signal.Signals, away: float) -> None:
        """以 ``number`` 停下，``away`` 秒之后再起。"""
        await self.stop(number)
        await asyncio.sleep(away)
        await self.start()


@dataclass(eq=False, slots=True)
class Servers:
    """``pair`` 是 PostgreSQL 有备的那一种；``postgres`` 总是眼下的主。"""

    directory: Path
    postgres: PostgresServer
    valkey: ValkeyServer
    postgres_process: Server
    valkey_process: Server
    disk: PowerDisk | None = None
    pair: Pair | None = None
    watched: Watched | None = None  # 经哨兵的一组，代替那一个 Valkey

    async def database(self, name: str) -> str:
        """一份刚迁移好的空库；返回它的 URL。"""
        async with await psycopg.AsyncConnection.connect(
            self.postgres.url_of("postgres"), autocommit=True
        ) as connection:
            await connection.execute(f"drop database if exists {name} with (force)".encode())
            await connection.execute(f"create database {name} template {TEMPLATE}".encode())
        return self.postgres.url_of(name)

    async def redis_url(self) -> str:
        """此刻的那一个：经哨兵的是主；一时没有主，就是头一个。"""
        if self.watched is None:
            return self.valkey.url
        return (await self.watched.master() or self.watched.nodes[0]).valkey.url

    async def flush(self) -> None:
        async with Redis.from_url(await self.redis_url()) as client:
            await client.flushall()


@asynccontextmanager
async def running_servers(
    migrate: Callable[[str], object] = upgrade, *, fsync: bool = False, power: bool = False
) -> AsyncIterator[Servers]:
    """起两个服务器，备好模板库（由 ``migrate`` 迁移）；离开时全部停下、目录删净。

    ``power``：两个都在会断电的盘上，``fsync`` 开着，Valkey 的 AOF 每秒同步一次。
    """
    identity = server_identity()
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(temporary_place("chaos"))
        home = directory / "disk"
        home.mkdir(PASSABLE)
        postgres = PostgresServer(home / "postgres", directory / "postgres-password", own_port(), identity)
        valkey = ValkeyServer(home / "valkey", directory / "valkey-password", own_port(), identity)
        await postgres.prepare()
        valkey.prepare()
        settings = SMALL_LOG if power else () if fsync else UNSYNCED
        servers = Servers(
            directory,
            postgres,
            valkey,
            Server(told(postgres.program(), settings), directory / "postgres.log"),
            Server(valkey.program() if power else in_memory_only(valkey.program()), directory / "valkey.log"),
            await stack.enter_async_context(powered(home, "journal")) if power else None,
        )
        try:
            await asyncio.gather(servers.postgres_process.start(), servers.valkey_process.start())
            url = await _template(postgres)
            await asyncio.to_thread(migrate, url)
            yield servers
        finally:
            await asyncio.gather(servers.valkey_process.stop(), servers.postgres_process.stop(signal.SIGINT))


async def _template(postgres: PostgresServer) -> str:
    async with await psycopg.AsyncConnection.connect(postgres.url_of("postgres"), autocommit=True) as connection:
        await connection.execute(f"create database {TEMPLATE}".encode())
    return postgres.url_of(TEMPLATE)
