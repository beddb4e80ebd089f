"""一主一备：真的 PostgreSQL，同步流复制。"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import psycopg

from kaguan.dev.binaries import postgres_bin
from kaguan.dev.ports import LOOPBACK
from kaguan.dev.postgres import PostgresServer
from kaguan.dev.privileges import make_private
from kaguan.dev.program import Program
from tests.chaos.servers import Server
from tests.support.eventually import eventually
from tests.support.fault_plant import own_postgres
from tests.support.places import own_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SYNCHRONOUS = "select sync_state from pg_stat_replication"


@dataclass(eq=False, slots=True)
class Pair:
    primary: PostgresServer
    standby: PostgresServer
    primary_process: Server

    @property
    def url(self) -> str:
        """两个主机，备的在前：先连上谁不作数。"""
        hosts = ",".join(f"{LOOPBACK}:{server.port}" for server in (self.standby, self.primary))
        return self.primary.url.replace(f"{LOOPBACK}:{self.primary.port}", hosts)

    async def promote(self) -> None:
        """备的成为主的；回来时已能写。"""
        async with await psycopg.AsyncConnection.connect(self.standby.admin_url_of("postgres"), autocommit=True) as one:
            await one.execute("select pg_promote()")


@asynccontextmanager
async def replicated(directory: Path) -> AsyncIterator[Pair]:
    """迁移好的一对，同步复制：主的答应过的，备的都有。"""
    async with AsyncExitStack() as stack:
        primary, primary_process = await stack.enter_async_context(own_postgres(directory))
        standby = PostgresServer(directory / "standby", primary.password_file, own_port(), primary.identity)
        make_private(standby.directory, standby.identity)
        program, source = postgres_bin(primary.identity) / "pg_basebackup", primary.admin_url_of("postgres")
        argv = (str(program), "-D", str(standby.data), "-R", "-c", "fast", "-d", source)
        copy = Program("pg_basebackup", argv, standby.directory, identity=standby.identity)
        copying = await asyncio.create_subprocess_exec(*argv, **copy.spawn_options())
        assert await copying.wait() == 0
        process = Server(standby.program(), directory / "standby.log")
        await process.start()
        stack.push_async_callback(process.stop, signal.SIGKILL)
        async with await psycopg.AsyncConnection.connect(source, autocommit=True) as one:
            await one.execute("alter system set synchronous_standby_names = '*'")
            await one.execute("select pg_reload_conf()")
            await eventually(partial(_is_synchronous, one))
        yield Pair(primary, standby, primary_process)


async def _is_synchronous(primary: psycopg.AsyncConnection) -> bool:
    return await (await primary.execute(SYNCHRONOUS)).fetchall() == [("sync",)]
