"""内嵌服务器与连接池。"""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError
from sqlalchemy import text

from kaguan.database.engine import engine_on
from kaguan.database.migrate import status
from kaguan.database.pool import Pool
from kaguan.dev.postgres import PostgresServer
from kaguan.dev.predecessor import command_line, settle_postmaster
from kaguan.dev.privileges import server_identity
from kaguan.dev.program import StartError
from kaguan.dev.valkey import ValkeyServer
from tests.support.eventually import PATIENCE
from tests.support.fault_plant import own_directory, own_valkey
from tests.support.places import own_port
from tests.support.servers import running


async def test_each_test_gets_a_migrated_database(pool: Pool, database_url: str) -> None:
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM tb_task")
        assert await cursor.fetchone() == (0,)
    assert status(database_url).up_to_date


async def test_sqlalchemy_engine_shares_the_pool_and_hands_connections_back(pool: Pool) -> None:
    engine = engine_on(pool)
    for _ in range(pool.max_size * 2):
        async with engine.begin() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    await engine.dispose()
    async with pool.connection() as connection:
        assert connection.autocommit
    assert pool.get_stats()["pool_size"] <= pool.max_size


async def test_an_engine_transaction_is_rolled_back_on_error(pool: Pool) -> None:
    engine = engine_on(pool)

    async def fail_halfway() -> None:
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE scratch (id int)"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_halfway()
    await engine.dispose()
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT to_regclass('scratch')")
        assert await cursor.fetchone() == (None,)


async def test_valkey_wants_a_password_and_never_evicts(valkey_server: ValkeyServer, redis_url: str) -> None:
    async with Redis(host="127.0.0.1", port=valkey_server.port, retry=Retry(NoBackoff(), 0)) as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.get("x")
    async with Redis.from_url(redis_url) as client:
        assert await client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_postgres_keeps_its_data_over_sigkill_and_a_misleading_pid_file(servers_directory: Path) -> None:
    folder = servers_directory / "recovery"
    folder.mkdir(mode=0o711)
    server = PostgresServer(folder / "postgres", folder / "password", own_port(), server_identity())
    asyncio.run(server.prepare())
    with running(server.program(), folder / "log") as process:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        pid_file = folder / "postgres" / "data" / "postmaster.pid"
        left_behind = pid_file.read_text().splitlines()
        os.kill(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
    # 进程号被一个活着的、不相干的进程（本测试）重用
    pid_file.write_text("\n".join([str(os.getpid()), *left_behind[1:]]) + "\n")
    asyncio.run(server.prepare())
    with running(server.program(), folder / "log"), psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


async def test_a_stranger_given_the_old_number_while_we_wait_is_left_alone(tmp_path: Path) -> None:
    stranger = await asyncio.create_subprocess_exec(
        "sh", "-c", "read line; exec sleep 60", str(tmp_path), stdin=asyncio.subprocess.PIPE
    )
    try:
        (tmp_path / "postmaster.pid").write_text(f"{stranger.pid}\n")
        settling = asyncio.create_task(settle_postmaster(tmp_path, PATIENCE))
        await asyncio.sleep(0)  # 让它先认出「上一套的」，换人在这之后
        assert stranger.stdin is not None
        stranger.stdin.write(b"\n")
        await settling
        assert stranger.returncode is None
    finally:
        stranger.kill()
        await stranger.wait()


def test_a_lost_password_file_never_costs_the_data(servers_directory: Path) -> None:
    folder = servers_directory / "lost"
    folder.mkdir(mode=0o711)
    server = PostgresServer(folder / "postgres", folder / "password", own_port(), server_identity())
    asyncio.run(server.prepare())
    server.password_file.unlink()
    with pytest.raises(StartError, match="丢了"):
        asyncio.run(server.prepare())
    assert (server.data / "PG_VERSION").exists()


def test_passwords_are_in_private_files_and_not_on_any_command_line(
    postgres_server: PostgresServer, valkey_server: ValkeyServer
) -> None:
    files = (postgres_server.password_file, postgres_server.admin_password_file, valkey_server.password_file)
    programs = (postgres_server.program(), valkey_server.program())
    for file in files:
        password = file.read_text().strip()
        assert len(password) >= 32
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        for program in programs:
            assert not any(password in word for word in (*program.argv, *program.environment.values()))
    assert stat.S_IMODE((valkey_server.directory / "valkey.conf").stat().st_mode) == 0o600


def test_postgres_refuses_a_wrong_password(postgres_server: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://kaguan:wrong@127.0.0.1:{postgres_server.port}/postgres")


@pytest.mark.skipif(os.geteuid() != 0, reason="只有 root 才换用户")
def test_servers_do_not_run_as_root(postgres_server: PostgresServer) -> None:
    pid_file = postgres_server.directory / "data" / "postmaster.pid"
    pid = int(pid_file.read_text().split()[0])
    assert "postgres" in command_line(pid)
    assert Path(f"/proc/{pid}").stat().st_uid != 0


async def test_the_application_role_is_no_superuser(pool: Pool) -> None:
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user")
        assert await cursor.fetchone() == (False, False)


@asynccontextmanager
async def cut_off(damage: Callable[[Path], object]) -> AsyncIterator[tuple[ValkeyServer, Redis]]:
    """写过一个键、被杀，AOF 又被 ``damage`` 弄坏的 Valkey，照产品的办法再起。"""
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(own_directory())
        server, process = await stack.enter_async_context(own_valkey(directory, append_only=True))
        client = await stack.enter_async_context(Redis.from_url(server.url))
        await client.set("early", "1")
        await client.waitaof(1, 0, 5_000)
        await process.stop(signal.SIGKILL)
        damage(server.directory / "appendonlydir" / "appendonly.aof.1.incr.aof")
        await process.start()
        yield server, client


def torn(part: Path) -> None:
    """断电留下的：一条命令缺了中间，后面还有完整的。"""
    sound = b"*3\r\n$3\r\nSET\r\n$4\r\nlate\r\n$1\r\n1\r\n"
    with part.open("ab") as file:
        file.write(sound[:-9] + sound)


async def test_a_valkey_whose_file_lost_a_piece_to_a_power_cut_starts_with_what_came_before() -> None:
    async with cut_off(torn) as (_, client):
        assert await client.mget("early", "late") == [b"1", None]


async def test_a_valkey_whose_file_cannot_be_mended_starts_empty_and_the_file_is_kept() -> None:
    def hopeless(part: Path) -> None:
        torn(part)
        part.chmod(0o400)  # 截也截不了

    async with cut_off(hopeless) as (server, client):
        assert await client.dbsize() == 0
        (aside,) = server.directory.glob("appendonlydir.*")
        assert b"early" in (aside / "appendonly.aof.1.incr.aof").read_bytes()
