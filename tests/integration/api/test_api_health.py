"""健康检查：真的停掉每一个服务器。"""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kaguan.config import load_settings
from kaguan.database.migrate import upgrade
from kaguan.dev.postgres import PostgresServer
from kaguan.dev.privileges import server_identity
from kaguan.dev.program import Program
from kaguan.dev.valkey import ValkeyServer
from kaguan.verdict.patience import SHIPPED
from tests.chaos.proxy import Proxy
from tests.support.eventually import PATIENCE, eventually
from tests.support.fault_plant import port_of, through
from tests.support.places import own_port
from tests.support.servers import DISPOSABLE, in_memory_only, running, told
from tests.support.serving import Api, serving

SIM: dict[str, Any] = {"iccids": ["8986001234567890123"]}


async def ask(api: Api, path: str) -> tuple[int, dict[str, Any]]:
    async with api.session.get(path) as response:
        return response.status, await response.json()


@contextmanager
def paused(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """服务器不死也不答。"""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.fixture
def own_postgres(servers_directory: Path, tmp_path: Path) -> PostgresServer:
    server = PostgresServer(
        servers_directory / f"postgres-{tmp_path.name}",
        servers_directory / f"password-{tmp_path.name}",
        own_port(),
        identity=server_identity(),
    )
    asyncio.run(server.prepare())
    return server


@pytest.fixture
def own_valkey(servers_directory: Path, tmp_path: Path) -> ValkeyServer:
    server = ValkeyServer(
        servers_directory / f"valkey-{tmp_path.name}",
        servers_directory / f"secret-{tmp_path.name}",
        own_port(),
        identity=server_identity(),
    )
    server.prepare()
    return server


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_everything_up_is_ok_without_a_token(api: Api, prefix: str) -> None:
    status, envelope = await ask(api, f"{prefix}/health")
    assert (status, envelope["code"], envelope["data"]["status"]) == (200, 0, "ok")
    assert {name: part["status"] for name, part in envelope["data"]["parts"].items()} == {
        "database": "ok",
        "redis": "ok",
    }
    for path in ("/health/live", "/health/ready"):
        assert (await ask(api, prefix + path))[0] == 200


async def test_without_redis_it_is_degraded_ready_and_accepts_work(
    environ: dict[str, str], own_valkey: ValkeyServer, tmp_path: Path
) -> None:
    environ |= {"KAGUAN_REDIS__URL": own_valkey.url}
    with running_elsewhere(in_memory_only(own_valkey.program()), tmp_path / "valkey.log") as process:
        async with serving(load_settings(environ)) as api:
            assert (await ask(api, "/health"))[0] == 200
            process.kill()
            envelope = await eventually(lambda: when(api, "degraded"))
            assert envelope["data"]["parts"]["redis"]["status"] == "down"
            assert envelope["data"]["parts"]["database"]["status"] == "ok"
            assert (await ask(api, "/health/ready"))[0] == 200
            assert (await api.post("/tasks/sim", SIM)).status == 202


async def test_without_postgresql_it_is_unavailable_not_ready_and_recovers(
    environ: dict[str, str], own_postgres: PostgresServer, tmp_path: Path
) -> None:
    with running_elsewhere(told(own_postgres.program(), DISPOSABLE), tmp_path / "postgres.log") as process:
        await asyncio.to_thread(upgrade, own_postgres.url)
        environ |= {"KAGUAN_DATABASE__URL": own_postgres.url, "KAGUAN_DATABASE__ACQUIRE_TIMEOUT": "1"}
        async with serving(load_settings(environ), patience=SHIPPED) as api:
            await eventually(lambda: when(api, "ok"))
            process.send_signal(signal.SIGINT)  # 快速停：断开所有连接，不丢已提交的
            process.wait(timeout=PATIENCE)
            envelope = await eventually(lambda: when(api, "unavailable"))
            assert envelope["code"] == 2002
            assert (await ask(api, "/health/live"))[0] == 200
            ready, _ = await ask(api, "/health/ready")
            assert ready == 503
            refused = await api.post("/tasks/sim", SIM)
            assert (refused.status, refused.code) == (503, 2002)
            assert int(refused.headers["Retry-After"]) >= 1
            with running_elsewhere(told(own_postgres.program(), DISPOSABLE), tmp_path / "postgres.log"):
                await eventually(lambda: when(api, "ok"))

                async def accepted() -> bool:
                    return (await api.post("/tasks/sim", SIM)).status == 202

                await eventually(accepted)


async def test_a_server_that_hangs_does_not_hang_the_check(
    environ: dict[str, str], own_valkey: ValkeyServer, tmp_path: Path
) -> None:
    environ |= {"KAGUAN_REDIS__URL": own_valkey.url}
    with running_elsewhere(in_memory_only(own_valkey.program()), tmp_path / "valkey.log") as process:
        async with serving(load_settings(environ), patience=SHIPPED) as api:
            with paused(process):
                async with asyncio.timeout(PATIENCE):
                    await eventually(lambda: when(api, "degraded"))  # 结果至多用一秒


async def test_a_database_that_hangs_does_not_hang_the_check(environ: dict[str, str], database_url: str) -> None:
    proxy = Proxy(port_of(database_url))
    await proxy.start()
    environ |= {"KAGUAN_DATABASE__URL": through(database_url, port_of(database_url), proxy.port)}
    try:
        async with serving(load_settings(environ), patience=SHIPPED) as api:
            await eventually(lambda: when(api, "ok"))
            proxy.blackhole()
            async with asyncio.timeout(PATIENCE):
                envelope = await eventually(lambda: when(api, "unavailable"))  # 结果至多用一秒
            assert envelope["code"] == 2002
            proxy.heal()
    finally:
        await proxy.stop()


async def when(api: Api, told: str) -> dict[str, Any] | None:
    """健康检查说 ``told``；别的部件慢了一回，说的是别的。"""
    status, envelope = await ask(api, "/health")
    assert (status == 200) == (envelope["data"]["status"] == "ok")
    return envelope if envelope["data"]["status"] == told else None


@contextmanager
def running_elsewhere(program: Program, log_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """在另一个线程里等它就绪：测试自己的事件循环正忙。"""
    manager = running(program, log_file)
    with ThreadPoolExecutor(1) as threads:
        process = threads.submit(manager.__enter__).result()
        try:
            yield process
        finally:
            if process.poll() is None:
                threads.submit(manager.__exit__, None, None, None).result()
