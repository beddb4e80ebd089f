"""启动时的等待：晚来的服务器等得到，永不来的在次数用尽后说清原因、退出码非零（T009、T010、T078）。"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kaguan.config import load_settings
from kaguan.database.pool import DatabaseUnavailableError, wait_for_database
from kaguan.dev.ports import free_port
from kaguan.queues.client import QueueUnavailableError, open_redis, wait_for_redis

if TYPE_CHECKING:
    from pathlib import Path

FAST = {"KAGUAN_DATABASE__CONNECT_BACKOFF": "0.01", "KAGUAN_REDIS__CONNECT_BACKOFF": "0.01"}


def run_module(module: str, environ: dict[str, str], directory: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", module]
    return subprocess.run(argv, env=environ, cwd=directory, capture_output=True, text=True, timeout=60, check=False)


async def test_database_that_never_comes_is_tried_five_times_then_named(environ: dict[str, str]) -> None:
    url = f"postgresql://u:hunter2@127.0.0.1:{free_port()}/x"
    settings = load_settings({**environ, **FAST, "KAGUAN_DATABASE__URL": url})
    with pytest.raises(DatabaseUnavailableError) as refusal:
        await wait_for_database(settings.database, "test")
    assert "试了 5 次" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


async def test_redis_that_never_comes_is_tried_five_times_then_named(environ: dict[str, str]) -> None:
    settings = load_settings({**environ, **FAST, "KAGUAN_REDIS__URL": f"redis://127.0.0.1:{free_port()}/0"})
    async with open_redis(settings.redis) as client:
        with pytest.raises(QueueUnavailableError, match="试了 5 次"):
            await wait_for_redis(client, settings.redis)


async def test_database_that_comes_up_late_is_waited_for(environ: dict[str, str], database_url: str) -> None:
    """先是无人应答的端口，第一次拒绝之后才有人转发到真的服务器。"""
    port = free_port()
    address, _, name = database_url.rpartition("@")[2].partition("/")
    host, real_port = address.split(":")

    forwarded: list[asyncio.Task[None]] = []

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        sink.close()
        await asyncio.wait([asyncio.create_task(sink.wait_closed())], timeout=5)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(host, int(real_port))
        forwarded.append(asyncio.create_task(copy(reader, upstream_writer)))
        forwarded.append(asyncio.create_task(copy(upstream_reader, writer)))

    credentials = database_url.rpartition("@")[0]
    late = f"{credentials}@127.0.0.1:{port}/{name}"
    settings = load_settings({**environ, "KAGUAN_DATABASE__URL": late, "KAGUAN_DATABASE__CONNECT_BACKOFF": "0.3"})
    waiting = asyncio.create_task(wait_for_database(settings.database, "test"))
    await asyncio.wait({waiting}, timeout=0.2)
    assert not waiting.done()
    server = await asyncio.start_server(forward, "127.0.0.1", port)
    async with server:
        await waiting
        await asyncio.gather(*forwarded)


@pytest.mark.parametrize("module", ["relay", "workers"])
def test_process_exits_with_three_and_one_clear_line(module: str, environ: dict[str, str], tmp_path: Path) -> None:
    given = {**os.environ, **environ, **FAST, "KAGUAN_DATABASE__URL": f"postgresql://u:p@127.0.0.1:{free_port()}/x"}
    finished = run_module(module, given, tmp_path)
    assert finished.returncode == 3, finished.stderr
    assert "连不上 PostgreSQL" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_wrong_configuration_exits_with_two_before_anything_starts(environ: dict[str, str], tmp_path: Path) -> None:
    given = {**os.environ, **environ, "KAGUAN_API__PORT": "many"}
    finished = subprocess.run(
        [sys.executable, "-m", "workers"],
        env=given,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 2
    assert finished.stderr.startswith("配置有误：KAGUAN_API__PORT")
