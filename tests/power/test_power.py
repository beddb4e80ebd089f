"""断电（FAULTS.md 71）：PostgreSQL 与 Valkey 在一块会断电的盘上。几十次断电的那一场是 ``make prove P=power``。"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from kaguan.config import load_settings
from kaguan.database.migrate import upgrade
from kaguan.database.pool import open_pool
from kaguan.dev.postgres import PostgresServer
from kaguan.dev.privileges import server_identity
from kaguan.dev.program import StartError
from kaguan.dev.valkey import ValkeyServer
from tests.chaos.servers import SMALL_LOG, Server
from tests.power.mounted import Names, PowerDisk, lacking, powered
from tests.support.eventually import eventually
from tests.support.fault_plant import EFFECT_TABLE, OPEN, QUICK, Effects, relaying
from tests.support.pipeline import open_pipeline
from tests.support.places import PASSABLE, own_port, temporary_place
from tests.support.servers import DISPOSABLE, running, told
from tests.support.serving import serving

pytestmark = pytest.mark.skipif(bool(lacking()), reason=lacking())

SEED = 71
HALF = 0.5
ENOUGH = 30  # 个
TABLE = "create table promise (kept text)"


@dataclass(frozen=True, slots=True)
class Machine:
    """断电之前就在盘上的：迁移好的库；挂在它上面的盘怎样断电，它都原样。"""

    directory: Path
    postgres: PostgresServer
    valkey: ValkeyServer

    def server(self, *settings: str) -> Server:
        return Server(told(self.postgres.program(), (*SMALL_LOG, *settings)), self.directory / "postgres.log")

    @asynccontextmanager
    async def powered(self, names: Names, *servers: Server) -> AsyncIterator[PowerDisk]:
        """起好 ``servers``；离开时杀掉。"""
        async with powered(self.directory / "disk", names) as disk:
            try:
                await asyncio.gather(*(server.start() for server in servers))
                yield disk
            finally:
                await disk.kill(servers)

    async def rows(self, query: LiteralString) -> list[tuple[Any, ...]]:
        """另开一条连接：产品的池断电之后要歇一会儿才再连。"""
        async with await psycopg.AsyncConnection.connect(self.postgres.url) as connection:
            return await (await connection.execute(query)).fetchall()

    async def promises(self) -> set[str]:
        return {kept for (kept,) in await self.rows("select kept from promise")}

    async def all_closed(self) -> bool:
        return await self.rows(OPEN) == [(0,)]

    async def promise(self, kept: str, *, synchronously: str = "on") -> None:
        async with await psycopg.AsyncConnection.connect(self.postgres.url) as connection:
            await connection.execute(f"set synchronous_commit = {synchronously}".encode())
            await connection.execute("insert into promise values (%s)", (kept,))


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with temporary_place("power") as directory:
        home = directory / "disk"
        home.mkdir(PASSABLE)
        identity = server_identity()
        postgres = PostgresServer(home / "postgres", directory / "pg-password", own_port(), identity)
        valkey = ValkeyServer(home / "valkey", directory / "valkey-password", own_port(), identity)
        asyncio.run(postgres.prepare())
        valkey.prepare()
        with running(told(postgres.program(), DISPOSABLE), directory / "prepared.log"):
            upgrade(postgres.url)
            with psycopg.connect(postgres.url) as connection:
                for statement in (EFFECT_TABLE, TABLE):
                    connection.execute(statement.encode())
        yield Machine(directory, postgres, valkey)


@pytest.mark.rigs
@pytest.mark.parametrize("names", ["posix", "journal"])
async def test_what_was_not_synced_is_gone_after_a_cut(names: Names) -> None:
    """对照：这块盘真的丢。"""
    with temporary_place("power") as place:
        (place / "old").write_bytes(b"old")
        async with powered(place, names) as disk:
            descriptor = os.open(place / "old", os.O_RDWR)
            os.pwrite(descriptor, b"kept", 0)
            os.fdatasync(descriptor)
            os.pwrite(descriptor, b"lost", 0)
            os.close(descriptor)
            for name, flags in (("plain", 0), ("synced", os.O_DSYNC)):
                descriptor = os.open(place / name, os.O_CREAT | os.O_WRONLY | flags, 0o600)
                os.write(descriptor, name.encode())
                os.close(descriptor)
            (place / "old").rename(place / "new")
            assert {path.name for path in place.iterdir()} == {"new", "plain", "synced"}
            await disk.cut((), SEED, 0.0)
            left = {path.name: path.read_bytes() for path in place.iterdir()}
    named = {"plain": b"", "synced": b"synced"} if names == "journal" else {}
    assert left == {"old": b"kept", **named}


@pytest.mark.rigs
async def test_a_synchronous_commit_outlives_the_cut_and_an_asynchronous_one_does_not(machine: Machine) -> None:
    server = machine.server("wal_writer_delay=10s")
    async with machine.powered("posix", server) as disk:
        await machine.promise("on")
        await machine.promise("off", synchronously="off")
        await disk.cut([server], SEED, 0.0)
        await server.start()
        assert await machine.promises() == {"on"}


@pytest.mark.rigs
async def test_without_fsync_committed_work_is_lost(machine: Machine) -> None:
    """对照：该判不合格的判得出来。"""
    server = machine.server("fsync=off")
    async with machine.powered("journal", server) as disk:
        await machine.promise("on")
        await disk.cut([server], SEED, 0.0)
        kept: set[str] = set()
        with suppress(StartError, psycopg.Error):  # 起不来，或坏了，也是丢了
            await server.start()
            kept = await machine.promises()
        assert kept == set()


async def test_after_a_power_cut_everything_accepted_is_there_and_done_once(
    environ: dict[str, str], machine: Machine
) -> None:
    postgres, valkey = machine.server(), Server(machine.valkey.program(), machine.directory / "valkey.log")
    own = {
        "KAGUAN_DATABASE__URL": machine.postgres.url,
        "KAGUAN_REDIS__URL": machine.valkey.url,
        "KAGUAN_DATABASE__ACQUIRE_TIMEOUT": "1",
    }
    settings = load_settings({**environ, **QUICK, **own})
    async with AsyncExitStack() as stack:
        disk = await stack.enter_async_context(machine.powered("journal", postgres, valkey))
        pool = await stack.enter_async_context(open_pool(settings.database, "test"))
        pipeline = await stack.enter_async_context(open_pipeline(settings, pool))
        api = await stack.enter_async_context(serving(settings))
        await stack.enter_async_context(pipeline.working(Effects(0.02)))
        await stack.enter_async_context(relaying(pipeline))
        accepted: set[str] = set()
        stop = asyncio.Event()

        async def client() -> None:
            while not stop.is_set():
                reply = await api.post("/tasks/email", {"to": ["a@example.com"], "subject": "s", "body": "b"})
                if reply.code == 0:
                    accepted.add(reply.data["task_id"])

        clients = [asyncio.create_task(client()) for _ in range(3)]
        await eventually(lambda: len(accepted) > ENOUGH)
        await disk.cut([postgres, valkey], SEED, HALF)
        await asyncio.gather(postgres.start(), valkey.start())
        stop.set()
        await asyncio.gather(*clients)
        await eventually(machine.all_closed)
        done = [str(task_id) for (task_id,) in await machine.rows("select task_id from fault_effect")]
        assert accepted <= set(done)
        assert len(done) == len(set(done))
