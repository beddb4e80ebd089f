"""故障：每种一个函数，自己下手、自己恢复。全部由一个带种子的日程决定何时用哪种。"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import psycopg
from redis.exceptions import RedisError

from kaguan.dev.program import StartError
from kaguan.tasks.model import Priority
from tests.chaos.stage import LEASE

if TYPE_CHECKING:
    from tests.chaos.stage import Stage

PAUSE = LEASE * 1.8  # 秒：比租约长
SHORT = (0.5, 2.0)  # 秒
LONG = (1.0, 4.0)
SMTP_WINDOW = 0.25  # 秒
WAITS = 100  # 等积压时看几次
ENOUGH_WAITING = 3  # 个投递
DELAY = (0.02, 0.2)  # 秒，代理每块数据的延迟

Fault: TypeAlias = Callable[["Stage", random.Random], Awaitable[None]]


async def signalled(kind: str, number: signal.Signals, stage: Stage, source: random.Random) -> None:
    source.choice(stage.fleet.units[kind]).send(number)


async def paused(kind: str, stage: Stage, source: random.Random) -> None:
    """停住比租约久，再放行：成了僵尸。"""
    unit = source.choice(stage.fleet.units[kind])
    pid = unit.pid
    if pid is not None:
        unit.send(signal.SIGSTOP)
        await asyncio.sleep(PAUSE)
        unit.send_to(pid, signal.SIGCONT)


async def all_killed(kind: str, stage: Stage, source: random.Random) -> None:
    del source
    for unit in stage.fleet.units[kind]:
        unit.send(signal.SIGKILL)


async def sessions_terminated(stage: Stage, source: random.Random) -> None:
    del source
    async with stage.postgres() as connection:
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'kaguan-%'"
            " and random() < 0.7"
        )


async def backend_killed(stage: Stage, source: random.Random) -> None:
    """kill -9 一个后端：整个集群重启。"""
    del source
    async with stage.postgres() as connection:
        cursor = await connection.execute(
            "select pid from pg_stat_activity where application_name like 'kaguan-%' order by random() limit 1"
        )
        row = await cursor.fetchone()
    if row is not None:
        os.kill(int(str(row[0])), signal.SIGKILL)


async def postgres_restarted(number: signal.Signals, stage: Stage, source: random.Random) -> None:
    await stage.servers.postgres_process.restart(number, source.uniform(*SHORT))


async def redis_killed(stage: Stage, source: random.Random) -> None:
    """没有持久化：回来时是空的。"""
    await stage.servers.valkey_process.restart(signal.SIGKILL, source.uniform(*SHORT))


async def redis_told(command: tuple[str, ...], stage: Stage, source: random.Random) -> None:
    del source
    async with stage.redis() as client:
        await client.execute_command(*command)  # type: ignore[no-untyped-call] # redis-py 没有这里的类型


async def flushed_while_waiting(stage: Stage, source: random.Random) -> None:
    """停住全部 worker，等队列里真有投递，再清空：空队列清了等于没清，机器一快就打不中。"""
    del source
    stopped = [(unit, unit.pid) for unit in stage.fleet.units["worker"]]
    for unit, pid in stopped:
        if pid is not None:
            unit.send(signal.SIGSTOP)
    try:
        async with stage.redis() as client:
            for _ in range(WAITS):
                waiting = [await client.zcard(f"saq:{queue}:incomplete") for queue in Priority]
                if sum(waiting) >= ENOUGH_WAITING:
                    break
                await asyncio.sleep(PAUSE / WAITS)
            await client.flushall()
    finally:
        for unit, pid in stopped:
            if pid is not None:
                unit.send_to(pid, signal.SIGCONT)


async def redis_full(stage: Stage, source: random.Random) -> None:
    """内存上限已到：一切写入被拒。"""
    async with stage.redis() as client:
        await client.config_set("maxmemory", 1)
        await asyncio.sleep(source.uniform(*LONG))
        await client.config_set("maxmemory", 0)


async def line_cut(line: str, stage: Stage, source: random.Random) -> None:
    del source
    stage.proxies[line].cut()


async def line_reset(line: str, stage: Stage, source: random.Random) -> None:
    del source
    stage.proxies[line].reset()


async def line_slow(line: str, stage: Stage, source: random.Random) -> None:
    stage.proxies[line].delay = source.uniform(*DELAY)
    await asyncio.sleep(source.uniform(*LONG))
    stage.proxies[line].heal()


async def line_black(line: str, stage: Stage, source: random.Random) -> None:
    stage.proxies[line].blackhole()
    await asyncio.sleep(source.uniform(*LONG))
    stage.proxies[line].heal()


async def killed_while_mailing(stage: Stage, source: random.Random) -> None:
    """线路慢下来，信已到而应答在路上的时候，杀掉全部 worker：正中 SMTP 的窗口。"""
    stage.proxies["smtp"].delay = SMTP_WINDOW
    await asyncio.sleep(source.uniform(*SHORT))
    await all_killed("worker", stage, source)
    stage.proxies["smtp"].heal()


async def line_refused(line: str, stage: Stage, source: random.Random) -> None:
    stage.proxies[line].refuse()
    await asyncio.sleep(source.uniform(*LONG))
    stage.proxies[line].heal()


@dataclass(frozen=True, slots=True)
class Kind:
    """``target`` 是它动的服务器或线路：同一个目标上一次只有一种，不同目标可以重叠；空即不限。"""

    target: str
    act: Fault


def _catalogue() -> dict[str, Kind]:
    faults: dict[str, Kind] = {}
    for kind in ("worker", "relay", "api"):
        faults[f"SIGKILL {kind}"] = Kind("", partial(signalled, kind, signal.SIGKILL))
        faults[f"SIGTERM {kind}"] = Kind("", partial(signalled, kind, signal.SIGTERM))
        faults[f"SIGSTOP {kind}"] = Kind("", partial(paused, kind))
    faults["SIGKILL 全部 worker"] = Kind("", partial(all_killed, "worker"))
    faults["SMTP 窗口里 SIGKILL 全部 worker"] = Kind("smtp", killed_while_mailing)
    faults["pg_terminate_backend"] = Kind("postgres", sessions_terminated)
    faults["SIGKILL 一个后端"] = Kind("postgres", backend_killed)
    faults["PostgreSQL fast 重启"] = Kind("postgres", partial(postgres_restarted, signal.SIGINT))
    faults["PostgreSQL immediate 重启"] = Kind("postgres", partial(postgres_restarted, signal.SIGQUIT))
    faults["Redis kill -9（无持久化）"] = Kind("redis", redis_killed)
    faults["FLUSHALL"] = Kind("redis", partial(redis_told, ("FLUSHALL",)))
    faults["积压时 FLUSHALL"] = Kind("redis", flushed_while_waiting)
    faults["SCRIPT FLUSH"] = Kind("redis", partial(redis_told, ("SCRIPT", "FLUSH")))
    faults["CLIENT KILL"] = Kind("redis", partial(redis_told, ("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")))
    faults["CLIENT PAUSE"] = Kind("redis", partial(redis_told, ("CLIENT", "PAUSE", "2000", "ALL")))
    faults["Redis maxmemory"] = Kind("redis", redis_full)
    for line in ("postgres", "redis", "smtp"):
        faults[f"{line} 线路切断"] = Kind(line, partial(line_cut, line))
        faults[f"{line} 线路复位"] = Kind(line, partial(line_reset, line))
        faults[f"{line} 线路延迟"] = Kind(line, partial(line_slow, line))
        faults[f"{line} 线路黑洞"] = Kind(line, partial(line_black, line))
        faults[f"{line} 拒绝连接"] = Kind(line, partial(line_refused, line))
    return faults


CATALOGUE = _catalogue()


@dataclass(frozen=True, slots=True)
class Planned:
    """进度到 ``at`` （0–1）时下手。"""

    at: float
    kind: str


def schedule(count: int, seed: int, kinds: tuple[str, ...] = tuple(CATALOGUE)) -> list[Planned]:
    """像发牌：每种轮到一次才再洗牌，因此各种至多差一次。"""
    source = random.Random(f"faults-{seed}")  # noqa: S311 只为可重放
    deck: list[str] = []
    while len(deck) < count:
        deck += source.sample(kinds, len(kinds))
    moments = sorted(source.uniform(0.03, 1.0) for _ in range(count))
    return [Planned(at, kind) for at, kind in zip(moments, deck, strict=False)]


@dataclass(frozen=True, slots=True)
class Struck:
    """下了手的一次；``at`` 是 Unix 秒，``missed`` 是没打中的原因。"""

    kind: str
    at: float
    missed: str = ""


@dataclass(slots=True)
class Striker:
    """按日程下手。动服务器的故障一次一个，别的可以重叠。"""

    stage: Stage
    seed: int
    struck: list[Struck] = field(default_factory=list)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _locks: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    def strike(self, number: int, kind: str) -> None:
        task = asyncio.create_task(self._strike(number, kind), name=kind)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _strike(self, number: int, kind: str) -> None:
        source = random.Random(f"{self.seed}-{number}")  # noqa: S311 只为可重放
        fault = CATALOGUE[kind]
        async with self._locks[fault.target or f"#{number}"]:
            at = time.time()
            try:
                await fault.act(self.stage, source)
            except (psycopg.Error, RedisError, OSError, StartError) as error:
                self.struck.append(Struck(kind, at, type(error).__name__))
            else:
                self.struck.append(Struck(kind, at))

    async def healed(self) -> None:
        """等手头的都恢复，再确保没有遗留。"""
        await asyncio.gather(*self._running)
        for server in (self.stage.servers.postgres_process, self.stage.servers.valkey_process):
            if server.process is None or server.process.returncode is not None:
                await server.start()
        for proxy in self.stage.proxies.values():
            proxy.heal()
        for unit in self.stage.fleet.all():
            unit.send(signal.SIGCONT)
        async with self.stage.redis() as client:
            await client.config_set("maxmemory", 0)
