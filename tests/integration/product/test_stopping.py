"""Ctrl-C 也是体面地停：每个进程都停得下来，两头的连接都关了。SIGTERM 的在各进程自己的用例里。"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from kaguan.config import load_settings
from kaguan.database.pool import Pool
from kaguan.product.exit_codes import ExitCode
from kaguan.product.process import STOP_DEADLINE
from kaguan.queues.client import open_redis
from tests.support.eventually import PATIENCE, eventually
from tests.support.fault_plant import child, only_kaguan
from tests.support.places import own_port

OURS = """
    select count(*) from pg_stat_activity
    where datname = current_database() and application_name like 'kaguan-%' and application_name <> 'kaguan-test'
"""

STUBBORN = """
import asyncio, sys
from kaguan.config import Process
from kaguan.product.process import run_process
async def main(settings, stop):
    print("ready", flush=True)
    await stop.wait()
    await asyncio.Event().wait()
sys.exit(run_process(Process.RELAY, main, deadline=0.1))
"""


async def sessions(pool: Pool, redis: Redis) -> tuple[int, int]:
    """这个库、这个 Redis 库里，除了用例自己的有几条连接。"""
    async with pool.connection() as connection:
        ((ours,),) = await (await connection.execute(OURS)).fetchall()
    own = await redis.client_info()
    return ours, sum(one["db"] == str(own["db"]) for one in await redis.client_list()) - 1


@pytest.mark.direct("数的是进程自己的会话；经连接池，会话是池子的")
@pytest.mark.parametrize("module", ["api", "relay", "workers"])
async def test_an_interrupt_stops_a_process_and_closes_its_connections(
    environ: dict[str, str], pool: Pool, tmp_path: Path, module: str
) -> None:
    given = {**environ, "KAGUAN_API__PORT": str(own_port()), "KAGUAN_SMTP__URL": "smtp://127.0.0.1:1"}
    async with open_redis(load_settings(environ).redis) as redis, child(module, given, tmp_path / "log") as process:

        async def connected() -> bool:
            return all(await sessions(pool, redis))

        async def closed() -> bool:
            return await sessions(pool, redis) == (0, 0)

        await eventually(connected)
        assert await process.stopped(signal.SIGINT) == 0, process.output
        await eventually(closed)


async def test_a_process_that_will_not_stop_is_ended_within_thirty_seconds(environ: dict[str, str]) -> None:
    assert STOP_DEADLINE < 30
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STUBBORN, env=only_kaguan(environ), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while b"ready" not in (line := await process.stdout.readline()):
            assert line
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == ExitCode.STUCK


async def test_a_worker_without_a_mail_server_says_so_in_one_line(environ: dict[str, str], tmp_path: Path) -> None:
    async with child("workers", only_kaguan(environ), tmp_path / "log") as process:
        async with asyncio.timeout(PATIENCE):
            assert await process.process.wait() == ExitCode.USAGE
    assert "KAGUAN_SMTP__URL" in process.output.splitlines()[-1]
    assert "Traceback" not in process.output
