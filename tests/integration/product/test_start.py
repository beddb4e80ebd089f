"""启动：配置有误不起；晚来的服务器等得到，永不来的在次数用尽后说清原因、退出码非零。"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

import api
from kaguan.config import load_settings
from kaguan.database.pool import DatabaseUnavailableError, Pool, wait_for_database
from kaguan.dev.privileges import server_identity
from kaguan.dev.valkey import ValkeyServer
from kaguan.outbox.testing import Recorder
from kaguan.product.exit_codes import ExitCode
from kaguan.queues.client import QueueUnavailableError, open_redis, wait_for_redis
from tests.chaos.proxy import Proxy
from tests.chaos.servers import Server
from tests.support.eventually import PATIENCE, eventually
from tests.support.fault_plant import child, own_directory, port_of, through
from tests.support.invocation import Invocation
from tests.support.pipeline import open_pipeline
from tests.support.places import own_port
from tests.support.production import LOCAL
from tests.support.retries import retries

SOURCE = Path(api.__file__).parents[1]
BACKOFF = 0.8  # 秒
FAST = {"KAGUAN_DATABASE__CONNECT_BACKOFF": "0.01", "KAGUAN_REDIS__CONNECT_BACKOFF": "0.01"}

LOADED = """
import gc, importlib, sys
sys.argv[0] = "-m"
for package in ("api", "relay", "workers"):
    gc.enable()
    importlib.import_module(package)
    print(gc.isenabled())
from kaguan.config import Process
from kaguan.product.process import run_process
print(run_process(Process.RELAY, None), gc.isenabled())
"""


def run_python(*arguments: str, environ: dict[str, str], directory: Path) -> subprocess.CompletedProcess[str]:
    """解释器现起，模块现导入。"""
    argv = [sys.executable, *arguments]
    return subprocess.run(
        argv, env=environ, cwd=directory, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def measuring() -> dict[str, str]:
    """量着覆盖率的，它起的进程也量。"""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


async def test_database_that_never_comes_is_tried_five_times_then_named(environ: dict[str, str]) -> None:
    url = f"postgresql://u:hunter2@127.0.0.1:{own_port()}/x"
    settings = load_settings({**environ, **FAST, "KAGUAN_DATABASE__URL": url})
    with pytest.raises(DatabaseUnavailableError) as refusal:
        await wait_for_database(settings.database, "test")
    assert "试了 5 次" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


async def test_redis_that_never_comes_is_tried_five_times_then_named(environ: dict[str, str]) -> None:
    settings = load_settings({**environ, **FAST, "KAGUAN_REDIS__URL": f"redis://127.0.0.1:{own_port()}/0"})
    async with open_redis(settings.redis) as client:
        with pytest.raises(QueueUnavailableError, match="试了 5 次"):
            await wait_for_redis(client, settings.redis)


async def test_five_connections_to_redis_are_ready_and_there_are_never_more_than_ten(environ: dict[str, str]) -> None:
    config = load_settings(environ).redis

    async def open_ones(client: Redis) -> int:
        own = await client.client_info()
        return sum(one["db"] == str(own["db"]) for one in await client.client_list())

    async with open_redis(config) as client:
        await wait_for_redis(client, config)
        assert await open_ones(client) == 5
        await asyncio.gather(*(client.dbsize() for _ in range(100)))
        assert await open_ones(client) == 10


async def test_database_that_comes_up_late_is_waited_for(environ: dict[str, str], database_url: str) -> None:
    """先是一接上就断；拒绝过一次，才有人转发到真的服务器。"""
    proxy = Proxy(port_of(database_url))
    await proxy.start()
    proxy.refuse()
    late = {"URL": through(database_url, proxy.target, proxy.port), "CONNECT_BACKOFF": "0.3"}
    settings = load_settings({**environ, **{f"KAGUAN_DATABASE__{name}": value for name, value in late.items()}})
    waiting = asyncio.create_task(wait_for_database(settings.database, "test"))
    await eventually(lambda: proxy.accepted)
    assert not waiting.done()
    proxy.heal()
    await waiting
    await proxy.stop()


@pytest.mark.parametrize(
    ("away", "url"),
    [("DATABASE", "postgresql://u:p@127.0.0.1:{}/x?sslmode=disable"), ("REDIS", "redis://127.0.0.1:{}/0")],
)
async def test_processes_that_start_together_do_not_try_again_in_step(
    away: str, url: str, environ: dict[str, str]
) -> None:
    """一起敲门，一起被拒；再来的不在同一刻。"""
    proxy = Proxy(0)
    await proxy.start()
    proxy.refuse()
    keys = {"URL": url.format(proxy.port), "CONNECT_ATTEMPTS": "2", "CONNECT_BACKOFF": str(BACKOFF)}
    settings = load_settings(
        {**environ, **{f"KAGUAN_{away}__{name}": value for name, value in keys.items()}, "KAGUAN_REDIS__POOL_IDLE": "1"}
    )

    async def start() -> None:
        if away == "DATABASE":
            return await wait_for_database(settings.database, "test")
        async with open_redis(settings.redis) as client:
            return await wait_for_redis(client, settings.redis)

    with retries() as waits:
        refused = await asyncio.gather(*(start() for _ in range(20)), return_exceptions=True)
    await proxy.stop()
    assert {type(error) for error in refused} <= {DatabaseUnavailableError, QueueUnavailableError}
    assert len(waits) == len(set(waits)) == len(refused)
    assert max(waits) - min(waits) > 0.25 * BACKOFF


async def test_redis_behind_a_unix_socket_carries_a_task(environ: dict[str, str], pool: Pool) -> None:
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(own_directory())
        server = ValkeyServer(directory / "valkey", directory / "password", own_port(), server_identity())
        server.prepare()
        socket, program = server.directory / "socket", server.program()
        process = Server(replace(program, argv=(*program.argv, "--unixsocket", str(socket))), directory / "log")
        await process.start()
        stack.push_async_callback(process.stop)
        url = f"unix://:{server.password_file.read_text('utf-8').strip()}@{socket}?db=1"
        pipeline = await stack.enter_async_context(
            open_pipeline(load_settings({**environ, "KAGUAN_REDIS__URL": url}), pool)
        )
        await wait_for_redis(pipeline.redis, pipeline.settings.redis)
        await stack.enter_async_context(pipeline.working(Recorder()))
        (task_id,) = await pipeline.submit()
        await pipeline.forwarder.run_once()

        async def succeeded() -> bool:
            return await pipeline.status(task_id) == "succeeded"

        await eventually(succeeded)


def test_garbage_is_not_looked_for_while_a_process_is_loaded_and_is_from_its_first_step(tmp_path: Path) -> None:
    finished = run_python("-c", LOADED, environ={**os.environ, "KAGUAN_ENV": "nowhere"}, directory=tmp_path)
    assert finished.stdout.split() == ["False"] * 3 + [str(int(ExitCode.USAGE)), "True"], finished.stderr


@pytest.mark.measured
def test_process_exits_with_three_and_one_clear_line(environ: dict[str, str], tmp_path: Path) -> None:
    """每个进程都这样退出：见 ``test_fault_start``；这里看那一行。"""
    given = {**os.environ, **environ, **FAST, "KAGUAN_DATABASE__URL": f"postgresql://u:p@127.0.0.1:{own_port()}/x"}
    finished = run_python("-m", "workers", environ=given, directory=tmp_path)
    assert finished.returncode == 3, finished.stderr
    assert "连不上 PostgreSQL" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.measured
@pytest.mark.parametrize(
    ("module", "name"), [("api", "KAGUAN_ENV"), ("relay", "kaguan_env"), ("workers", "KAGUAN_ENV")]
)
async def test_a_weak_production_refuses_to_start_a_line_for_each_weakness(
    module: str, name: str, tmp_path: Path
) -> None:
    weak = {
        "KAGUAN_DATABASE__URL": "postgresql://kaguan:planted@localhost/kaguan",
        "KAGUAN_REDIS__URL": "redis://localhost:6379/0",
        "KAGUAN_SMTP__STARTTLS": "off",
        "KAGUAN_API__TRUSTED_PROXIES": '["notanip"]',
    }
    given = {key: value for key, value in {**LOCAL, **weak}.items() if key != "KAGUAN_ENV"}
    async with child(module, {**given, **measuring(), name: "prod"}, tmp_path / "log") as process:
        assert await asyncio.wait_for(process.process.wait(), PATIENCE) == ExitCode.USAGE
    assert sorted(line.split("：")[1] for line in process.output.splitlines()) == sorted(weak)
    assert "planted" not in process.output


def test_config_show_refuses_a_weak_production_in_the_same_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in LOCAL.items():
        monkeypatch.setenv(name, value)
    said = "配置有误：KAGUAN_DATABASE__URL：没有给出；生产与预发布里必须用环境变量给出\n"
    assert Invocation(monkeypatch, capsys)("config", "show") == (ExitCode.USAGE, "", said)


def test_production_without_its_file_refuses_to_start(environ: dict[str, str], tmp_path: Path) -> None:
    """哪些环境算生产：见 ``test_config_production``。"""
    shutil.copytree(SOURCE, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    # 跑的是抄来的源码：它的覆盖率不作数，报告也找不到它
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    given = {**inherited, **environ, **LOCAL, "KAGUAN_ENV": "prod", "PYTHONPATH": str(tmp_path / "src")}
    finished = run_python("-m", "relay", environ=given, directory=tmp_path)
    assert finished.returncode == ExitCode.USAGE
    (line,) = finished.stderr.splitlines()
    assert line.startswith("配置有误：KAGUAN_ENV=prod：找不到 ")
    assert "KAGUAN_CONFIG_FILE" in line


@pytest.mark.measured
async def test_production_that_names_what_it_allows_starts_and_warns_of_each(
    environ: dict[str, str], tmp_path: Path
) -> None:
    allowed = {
        "KAGUAN_API__TRUSTED_PROXIES": '["0.0.0.0/0"]',
        "KAGUAN_ALLOW_INSECURE": '["trusted_proxies", "console_http"]',
        "KAGUAN_RELAY__METRICS_PORT": str(own_port()),
    }
    async with child("relay", {**environ, **LOCAL, **allowed, **measuring()}, tmp_path / "log") as process:
        await eventually(lambda: "连接数据库" in process.output or process.process.returncode is not None)
        code = await process.stopped()
    lines = [json.loads(line) for line in process.output.splitlines()]
    warned = [line for line in lines if line.get("exemption")]
    assert [(line["level"], line["exemption"]) for line in warned] == [
        ("warning", "trusted_proxies"),
        ("warning", "console_http"),
    ]
    assert sum("以 root 运行" in line["event"] for line in lines) == (os.geteuid() == 0)
    assert code == 0
