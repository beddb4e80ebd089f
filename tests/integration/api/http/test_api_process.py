"""真实的 API 进程：体面地停，子进程死了会补上，父进程被杀不留孤儿。"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pytest

from kaguan.database.pool import Pool
from kaguan.logging.repeats import REPEATS
from kaguan.tokens import service as tokens
from tests.support import warm
from tests.support.addresses import base_of
from tests.support.api_process import api_process
from tests.support.eventually import PATIENCE, eventually
from tests.support.places import own_port, own_ports
from tests.support.raw_http import exchange

ANSWERED = 'kaguan_http_request_seconds_count{method="GET",route="/api/v1/users",status="401"}'
USER = {"username": "zhangsan", "email": "zhangsan@example.com", "password": "correct horse"}
WAITING = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
STARTED = "process_start_time_seconds "


async def refuses(session: aiohttp.ClientSession) -> bool:
    try:
        async with session.get("/health/live"):
            return False
    except aiohttp.ClientError:
        return True


async def children(process: warm.Process) -> list[int]:
    found = await asyncio.create_subprocess_exec("pgrep", "-P", str(process.pid), stdout=asyncio.subprocess.PIPE)
    output, _ = await found.communicate()
    return [int(pid) for pid in output.split()]


@pytest.mark.parametrize(
    ("number", "processes"), [(signal.SIGTERM, "2"), pytest.param(signal.SIGINT, "1", marks=pytest.mark.measured)]
)
async def test_a_signal_lets_running_requests_finish_and_ends_streams(
    environ: dict[str, str], tmp_path: Path, pool: Pool, number: signal.Signals, processes: str
) -> None:
    async with pool.connection() as connection:
        token = (await tokens.create(connection, "test", tokens.SCOPES)).token
    headers = {"Authorization": f"Bearer {token}"}
    async with api_process(environ, tmp_path, KAGUAN_API__PROCESSES=processes) as (process, session):
        body = {"iccids": ["8986001234567890123"]}
        async with session.post("/api/v1/tasks/sim", json=body, headers=headers) as response:
            assert response.status == 202
            task_id = (await response.json())["data"]["task_id"]
        async with session.post("/api/v1/users", json=USER, headers=headers) as response:
            user = f"/api/v1/users/{(await response.json())['data']['id']}"

        async def change() -> int:
            async with session.put(user, json={"email": "other@example.com"}, headers=headers) as response:
                return response.status

        async def waits() -> bool:
            async with pool.connection() as connection:
                return (await (await connection.execute(WAITING)).fetchone()) is not None

        async with session.get(f"/api/v1/tasks/{task_id}/events", headers=headers) as stream:
            assert await stream.content.readline()
            async with pool.connection() as connection, connection.transaction():
                await connection.execute("select from tb_user for update")
                changing = asyncio.create_task(change())
                await eventually(waits)
                process.send_signal(number)
                await eventually(lambda: refuses(session))
            async with asyncio.timeout(PATIENCE):
                assert await changing == 200
                await stream.read()
                assert await process.wait() == 0
        assert await refuses(session)


@pytest.mark.measured
async def test_a_dead_child_comes_back_on_its_own_metrics_port_and_none_outlives_a_killed_parent(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """各自的指标加起来才是全部；死了一个，补的用它的端口，另一个的不动。"""
    ports = own_ports(2)  # 子进程 n 用的是第一个加 n
    extra = {"KAGUAN_API__PROCESSES": "2", "KAGUAN_API__METRICS_PORT": str(ports[0])}
    async with api_process(environ, tmp_path, **extra) as (process, session):
        started = await eventually(lambda: figures(ports, STARTED))
        sent = 0

        async def both_answered() -> bool:
            nonlocal sent
            # 每个请求一条新连接：内核按连接分给子进程
            async with session.get("/api/v1/users", headers={"Connection": "close"}) as response:
                assert response.status == 401
            sent += 1
            return all(await figures(ports, ANSWERED) or [0])

        async def all_counted() -> bool:
            return sum(await figures(ports, ANSWERED)) == sent

        await eventually(both_answered)
        await eventually(all_counted)
        os.kill((await children(process))[0], signal.SIGKILL)

        async def replaced() -> bool:
            now = await figures(ports, STARTED)
            return len(now) == 2 and sum(one != before for one, before in zip(now, started, strict=True)) == 1

        await eventually(replaced)
        victim, _ = await children(process)
        os.kill(victim, signal.SIGKILL)

        async def starting() -> list[int]:
            now = await children(process)
            return now if len(now) == 2 and victim not in now else []

        orphans = await eventually(starting)  # 一个还没有启动完
        process.kill()
        await eventually(lambda: not any(is_alive(pid) for pid in orphans))
        assert await refuses(session)


async def figures(ports: Sequence[int], name: str) -> list[float]:
    """各端口的 ``/metrics`` 里那一行的值，没有那一行是 0；有一个不答就是空的。"""
    try:
        async with aiohttp.ClientSession() as client:
            answers = [await (await client.get(f"http://127.0.0.1:{port}/metrics")).text() for port in ports]
    except aiohttp.ClientError:
        return []
    lines = [[line for line in answer.splitlines() if line.startswith(name)] for answer in answers]
    return [float(found[0].rpartition(" ")[2]) if found else 0.0 for found in lines]


async def test_malformed_requests_cannot_fill_the_log(environ: dict[str, str], tmp_path: Path) -> None:
    """每个在访问日志里都有一行；进程自己的日志里只说几遍，别的事才不会被挤掉。"""
    async with api_process(environ, tmp_path) as (_, session):
        base = base_of(session)
        for _ in range(20):
            assert (await exchange(base.host or "", base.port or 0, b"nonsense\r\n\r\n")).status == 400
        assert (
            1 <= (tmp_path / "api.log").read_text("utf-8").count("畸形的 HTTP 请求") <= REPEATS + 1
        )  # 折叠的那一行也算


def is_alive(pid: int) -> bool:
    try:
        return not Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].startswith(" Z")
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("processes", ["2", pytest.param("1", marks=pytest.mark.measured)])
async def test_without_a_database_it_gives_up_with_one_clear_line(
    environ: dict[str, str], tmp_path: Path, processes: str
) -> None:
    environ |= {
        "KAGUAN_API__PROCESSES": processes,
        "KAGUAN_DATABASE__URL": f"postgresql://nobody:secret@127.0.0.1:{own_port()}/nothing",
        "KAGUAN_DATABASE__CONNECT_ATTEMPTS": "2",
        "KAGUAN_DATABASE__CONNECT_BACKOFF": "0.05",
    }
    said = tmp_path / "said"
    with said.open("wb") as output:
        process = await warm.start("api", environment={**os.environ, **environ}, output=output)
    assert await asyncio.wait_for(process.wait(), PATIENCE) == 3
    text = said.read_text("utf-8")
    assert "连不上 PostgreSQL" in text
    assert "Traceback" not in text
    assert "secret" not in text
