"""故障用例的场地：自己的 PostgreSQL 与 Valkey（可杀、可停、可换）、本进程里的 relay 循环、真实的 worker 与 relay 进程。

每一个故障对应哪个用例，见 docs/ledgers/FAULTS.md。
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString
from urllib.parse import urlsplit

from kaguan.database.migrate import upgrade
from kaguan.dev.postgres import PostgresServer
from kaguan.dev.privileges import server_identity
from kaguan.dev.valkey import ValkeyServer
from kaguan.flow.probes import LOOPBACK
from kaguan.mail.task import EmailPayload
from kaguan.outbox.work.outcome import Done
from tests.chaos.servers import Server
from tests.support import warm
from tests.support.eventually import PACE, PATIENCE
from tests.support.places import own_port, temporary_place
from tests.support.servers import UNSYNCED, in_memory_only, told

if TYPE_CHECKING:
    from tests.support.pipeline import Pipeline

from kaguan.database.pool import Connection
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Outcome

# 快一点的节拍：重投不用等。`make prove P=checklist` 按产品的节拍
HURRIED = {
    "KAGUAN_WORKER__LEASE": f"{2 * PACE:g}",  # 停顿一秒的机器上也续得上
    "KAGUAN_RELAY__POLL_INTERVAL": "0.1",
    "KAGUAN_RELAY__PRESENCE_INTERVAL": "0.2",
    "KAGUAN_RELAY__PRESENCE_AGE": "0.5",
    "KAGUAN_RELAY__BACKSTOP_AGE": "20",
    "KAGUAN_RELAY__LEASE_SCAN_INTERVAL": "0.1",
    "KAGUAN_RELAY__BACKOFF_MAX": "0.5",
    "KAGUAN_TASKS__BACKOFF_BASE": "0.1",
    "KAGUAN_TASKS__BACKOFF_CAP": "0.2",
}
AS_SHIPPED = os.environ.get("KAGUAN_FAULT_PACE") == "product"
# 不考租约到期的：停顿几秒，也不该到期
LASTING = {} if AS_SHIPPED else {"KAGUAN_WORKER__LEASE": f"{PATIENCE:g}"}
QUICK = {"KAGUAN_SCHEDULES": "[]", **({} if AS_SHIPPED else HURRIED)}
EFFECTS: LiteralString = "fault_effect"
EFFECT_TABLE: LiteralString = f"create table if not exists {EFFECTS} (task_id uuid not null, delivery int not null)"
OPEN = "select count(*) from vw_task where status not in ('succeeded', 'failed', 'cancelled', 'uncertain')"


def mail(subject: str = "s") -> EmailPayload:
    """``subject`` 是 :mod:`tests.support.fault_worker` 的剧本。"""
    return EmailPayload(to=("a@example.com",), subject=subject, body="b")


# ---- 效果


@dataclass(slots=True)
class Effects:
    """处理器：占用 ``seconds`` 秒，然后在结算的事务里记一行；``started`` 记开始过的投递。"""

    seconds: float = 0.0
    started: list[tuple[str, int]] = field(default_factory=list)

    async def __call__(self, attempt: Attempt) -> Outcome:
        attempt.call_nobody()
        self.started.append((str(attempt.task_id), attempt.delivery))
        await asyncio.sleep(self.seconds)

        async def write(connection: Connection) -> None:
            await connection.execute("insert into fault_effect values (%s, %s)", (attempt.task_id, attempt.delivery))

        return Done({"n": 1}, write)


async def effects(pipeline: Pipeline) -> tuple[int, int]:
    """(生效的任务数, 生效的次数)：两者相等即没有重复。"""
    ((tasks, times),) = await pipeline.sql("select count(distinct task_id), count(*) from fault_effect")
    return tasks, times


async def all_closed(pipeline: Pipeline) -> bool:
    return await pipeline.sql(OPEN) == [(0,)]


# ---- relay


@asynccontextmanager
async def relaying(pipeline: Pipeline) -> AsyncIterator[asyncio.Event]:
    """产品的循环都在转，直到离开；不听门铃，给出的事件就是门铃。"""
    stop = asyncio.Event()
    running = asyncio.create_task(pipeline.relay.turn(stop), name="relay")
    try:
        yield pipeline.relay.heard
    finally:
        stop.set()
        await asyncio.wait({running}, timeout=PATIENCE)
        assert running.done(), "叫停了还在转"
        await running


# ---- 服务器


own_directory = partial(temporary_place, "fault")


@asynccontextmanager
async def own_valkey(directory: Path, *, append_only: bool = False) -> AsyncIterator[tuple[ValkeyServer, Server]]:
    """同一个目录里的几台共用一个密码：可以互为主从。"""
    port = own_port()
    server = ValkeyServer(directory / f"valkey-{port}", directory / "valkey-password", port, server_identity())
    server.prepare()
    program = server.program() if append_only else in_memory_only(server.program())
    process = Server(program, directory / f"valkey-{port}.log")
    await process.start()
    try:
        yield server, process
    finally:
        await process.stop(signal.SIGKILL)


@asynccontextmanager
async def own_postgres(directory: Path, *options: str) -> AsyncIterator[tuple[PostgresServer, Server]]:
    """迁移好的库。不等磁盘，但提交是真的提交：杀了 PostgreSQL 也不丢已答复的。"""
    server = PostgresServer(directory / "postgres", directory / "postgres-password", own_port(), server_identity())
    await server.prepare()
    process = Server(told(server.program(), (*UNSYNCED, *options)), directory / "postgres.log")
    await process.start()
    try:
        await asyncio.to_thread(upgrade, server.url)
        yield server, process
    finally:
        await process.stop(signal.SIGINT)


def through(url: str, real: int, proxied: int) -> str:
    return url.replace(f":{real}/", f":{proxied}/")


# ---- 进程


@dataclass(eq=False, slots=True)
class Child:
    """一个真实的进程。"""

    process: warm.Process
    log: Path
    stopping: float = 0.0  # 秒：叫停到退出

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        await self.process.wait()

    async def stopped(self, number: signal.Signals = signal.SIGTERM) -> int:
        """``number``，等它退出；返回退出码：0 是自己停下的，三十秒之内停不下的自己以 STUCK 退出。"""
        since = time.monotonic()
        self.send(number)
        code = await asyncio.wait_for(self.process.wait(), PATIENCE)
        self.stopping = time.monotonic() - since
        return code


@asynccontextmanager
async def child(module: str, environ: Mapping[str, str], log: Path, *arguments: str) -> AsyncIterator[Child]:
    """``python -m module``，离开时强杀（已停的不管）。"""
    with log.open("ab") as output:
        process = await warm.start(module, *arguments, environment=environ, output=output)
    started = Child(process, log)
    try:
        yield started
    finally:
        if process.returncode is None:
            started.send(signal.SIGCONT)
            await started.kill()


def local(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def only_kaguan(environ: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in environ.items() if key.startswith(("KAGUAN_", "OTEL_"))}


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port
