"""一主一备：真的 PostgreSQL，流复制，WAL 经一个会使坏的代理过去。提升之后照新的主另抄一份备，可以一次次再来。"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from kaguan.dev.binaries import postgres_bin
from kaguan.dev.postgres import PostgresServer
from kaguan.dev.privileges import make_private
from kaguan.dev.program import Program
from kaguan.flow.probes import LOOPBACK
from tests.chaos.proxy import Proxy
from tests.chaos.servers import Server
from tests.support.eventually import PATIENCE, eventually
from tests.support.fault_plant import own_postgres, through
from tests.support.places import own_port
from tests.support.servers import UNSYNCED, told

STATES = "select state, sync_state from pg_stat_replication"
CAUGHT_UP = "select coalesce(pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn(), true)"


def standby_program(server: PostgresServer) -> Program:
    """断了就快快再连：缺省隔五秒，主的重启一次，同步的提交就都要多等五秒。"""
    return told(server.program(), (*UNSYNCED, "wal_retrieve_retry_interval=200ms"))


@dataclass(eq=False, slots=True)
class Pair:
    """``line`` 是 WAL 走的代理；``synchronous``：备的在，主的提交就等它。"""

    primary: PostgresServer
    standby: PostgresServer
    primary_process: Server
    standby_process: Server
    line: Proxy
    synchronous: bool = True

    @property
    def url(self) -> str:
        """两个主机，备的在前：先连上谁不作数。"""
        hosts = ",".join(f"{LOOPBACK}:{server.port}" for server in (self.standby, self.primary))
        return self.primary.url.replace(f"{LOOPBACK}:{self.primary.port}", hosts)

    async def promote(self) -> None:
        """备的成为主的，回来时已能写；死了的那个从此是备的，``copy`` 才起得来。还没有备的，提交不等谁。"""
        async with await _told(self.standby) as one:
            await one.execute("select pg_promote()")
        self.primary, self.standby = self.standby, self.primary
        self.primary_process, self.standby_process = self.standby_process, self.primary_process

    async def copy(self) -> None:
        """照主的另抄一份，起作备的，追上为止；同步的，从此又等它。"""
        await self.standby_process.stop(signal.SIGKILL)
        async with await _told(self.primary) as one:
            await _wait_for_standbys(one, "")
            await asyncio.to_thread(shutil.rmtree, self.standby.directory, ignore_errors=True)
            make_private(self.standby.directory, self.standby.identity)
            self.line.target = self.primary.port
            self.line.heal()
            await self._base_backup()
            self.standby_process = Server(standby_program(self.standby), self.standby_process.log)
            await self.standby_process.start()
            if self.synchronous:
                await _wait_for_standbys(one, "*")
            await eventually(self.is_attached)

    async def _base_backup(self) -> None:
        source = through(self.primary.admin_url_of("postgres"), self.primary.port, self.line.port)
        program = postgres_bin(self.standby.identity) / "pg_basebackup"
        argv = (str(program), "-D", str(self.standby.data), "-R", "-c", "fast", "--no-sync", "-d", source)
        backup = Program("pg_basebackup", argv, self.standby.directory, identity=self.standby.identity)
        copying = await asyncio.create_subprocess_exec(*argv, **backup.spawn_options())
        assert await asyncio.wait_for(copying.wait(), PATIENCE) == 0

    async def is_attached(self) -> bool:
        """备的追上了；同步的，主的也在等它。"""
        async with await _told(self.primary) as one:
            found = await (await one.execute(STATES)).fetchall()
        return found == [("streaming", "sync" if self.synchronous else "async")]

    async def has_replayed(self) -> bool:
        """备的把收到的都放完了。"""
        async with await _told(self.standby) as one:
            return await (await one.execute(CAUGHT_UP)).fetchone() == (True,)


async def _told(server: PostgresServer) -> psycopg.AsyncConnection:
    return await psycopg.AsyncConnection.connect(
        server.admin_url_of("postgres"), autocommit=True, connect_timeout=round(PATIENCE)
    )


async def _wait_for_standbys(primary: psycopg.AsyncConnection, names: str) -> None:
    await primary.execute(f"alter system set synchronous_standby_names = '{names}'".encode())
    await primary.execute("select pg_reload_conf()")


@asynccontextmanager
async def paired(
    primary: PostgresServer, process: Server, directory: Path, *, synchronous: bool = True
) -> AsyncIterator[Pair]:
    """给运行着的 ``primary`` 配一个备的，直到离开；离开时两个都停。"""
    standby = PostgresServer(directory / "standby", primary.password_file, own_port(), primary.identity)
    line = Proxy(primary.port)
    await line.start()
    pair = Pair(primary, standby, process, Server(standby.program(), directory / "standby.log"), line, synchronous)
    try:
        await pair.copy()
        yield pair
    finally:
        await asyncio.gather(pair.standby_process.stop(signal.SIGKILL), pair.primary_process.stop(signal.SIGKILL))
        await line.stop()


@asynccontextmanager
async def replicated(directory: Path, *, synchronous: bool = True) -> AsyncIterator[Pair]:
    """迁移好的一对；同步的：主的答应过的，备的都有。"""
    async with AsyncExitStack() as stack:
        primary, process = await stack.enter_async_context(own_postgres(directory))
        yield await stack.enter_async_context(paired(primary, process, directory, synchronous=synchronous))
