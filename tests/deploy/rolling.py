"""滚动：旁边的负载不停，一个个地换上另一份代码；每一段记下起止，换下去的怎么停的也记下。"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import aiohttp
import psycopg

from kaguan.flow.probes import LOOPBACK
from kaguan.queues.keys import PRESENCE_CARDS
from tests.chaos.faults import Struck
from tests.chaos.fleet import Release, Unit
from tests.chaos.load import Heard, Load
from tests.chaos.stage import Stage, listening
from tests.deploy.releases import kaguan
from tests.support.eventually import eventually

API, RELAY, WORKER = "api", "relay", "worker"
LOOK = 0.2  # 秒：隔多久读一次
AWAY = 0.5  # 秒：PostgreSQL 停下到再起
RECOVERY = 5.0  # 秒：它回来之后这么久之内，API 恢复（FAULTS.md 15）
GLANCE = 0.02  # 秒：隔多久看一次谁手里有活；活只有几十毫秒
RUNNING = "select distinct split_part(worker, '-', -2)::int from tb_work where lease_until is not null"
LISTS = ("tasks?page_size=20", "users?page_size=20", "orders?page_size=20", "sims?page_size=20")


@dataclass(frozen=True, slots=True)
class Phase:
    """一段：``began``、``ended`` 是 Unix 秒；``submitted`` 是其间提交了几个；``mixed``：其间换 worker。"""

    name: str
    began: float
    ended: float
    submitted: int
    mixed: bool


@dataclass(slots=True)
class Roll:
    """一次升级与回退。

    Attributes:
        old_release: 旧版。
        new_release: 新版。
        quota: 每一段至少提交这么多个。
        beside: 新旧并排着，至少再提交这么多个，旧的才停。
        away: 端口 → 它的 API 不在的那几段，Unix 秒。
        outages: PostgreSQL 不在、才回来的那几段，Unix 秒。
        new: 跑新版代码的进程号。
        busy: 手里有活的 worker：（Unix 秒，进程号）。
        complaints: 没有干净停下的。
    """

    stage: Stage
    load: Load
    old_release: Release
    new_release: Release
    quota: int
    beside: int
    phases: list[Phase] = field(default_factory=list)
    away: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    outages: list[tuple[float, float]] = field(default_factory=list)
    new: set[int] = field(default_factory=set)
    busy: list[tuple[float, int]] = field(default_factory=list)
    struck: list[Struck] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    migrations: list[str] = field(default_factory=list)
    _live: dict[str, list[Unit]] = field(init=False)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self._live = {kind: list(units) for kind, units in self.stage.fleet.units.items()}

    @asynccontextmanager
    async def phase(self, name: str, *, mixed: bool = False) -> AsyncIterator[None]:
        began, before = time.time(), self.load.started
        yield
        await self._submitted(before + self.quota)
        self.phases.append(Phase(name, began, time.time(), self.load.started - before, mixed))

    async def _submitted(self, count: int) -> None:
        await eventually(lambda: self.load.started >= count)

    async def migrate(self, *words: str) -> None:
        """新版的命令，当着全部负载。"""
        began = time.monotonic()
        await asyncio.to_thread(kaguan, self.new_release, self.stage.database, "migrate", *words)
        self.migrations.append(f"kaguan migrate {' '.join(words)}：{time.monotonic() - began:.1f} 秒")

    async def restart_postgres(self) -> None:
        """当着全部负载；各进程都得自己回来。"""
        at = time.time()
        await self.stage.servers.postgres_process.restart(signal.SIGINT, AWAY)
        self.struck.append(Struck("PostgreSQL 重启", at, time.time()))
        self.outages.append((at, time.time() + RECOVERY))

    def in_outage(self, at: float) -> bool:
        return any(begin <= at <= end for begin, end in self.outages)

    async def replace(
        self, kind: str, release: Release, *, kill: bool = False, amid: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """换上 ``release``，一个接一个。API 的端口只有一个，停了旧的才起新的；别的新旧并排一阵。

        ``kill``：并排着，最后一个旧的先被 SIGKILL 一次，由监督者带回来。``amid``：最后一个并排着的时候做的事。
        """
        for number, unit in enumerate(self._live[kind]):
            twin = unit.twin(f"{kind}-{number}-{next(self._numbers)}", release)
            self.stage.fleet.units[kind].append(twin)
            if kind == API:
                port = self.stage.api_ports[number]
                away = time.time()
                await self._stop(unit)
                await twin.start()
                await listening([port])
                self.away.setdefault(port, []).append((away, time.time()))
            else:
                await twin.start()
            if release == self.new_release and twin.pid is not None:
                self.new.add(twin.pid)
            await eventually(partial(self._is_present, twin))
            await self._submitted(self.load.started + self.beside)
            last = number == len(self._live[kind]) - 1
            if amid is not None and last:
                await amid()
            if kind == WORKER:
                await self._both_busy(unit, twin)
            if kind != API:
                if kill and last:
                    await self._kill(unit)
                await self._stop(unit)
            self._live[kind][number] = twin

    async def _both_busy(self, unit: Unit, twin: Unit) -> None:
        """新旧都有过活，才算并排。"""
        seen = len(self.busy)
        await eventually(lambda: {unit.pid, twin.pid} <= {pid for _, pid in self.busy[seen:]})

    async def _stop(self, unit: Unit) -> None:
        complaint = await unit.stop()
        self.complaints += [complaint] if complaint else []

    async def _kill(self, unit: Unit) -> None:
        """杀；worker 要在它手里有活时。被带回来才算完。"""
        if unit in self._live[WORKER]:
            seen = len(self.busy)
            await eventually(lambda: unit.pid in {pid for _, pid in self.busy[seen:]})
        at = time.time()
        unit.send(signal.SIGKILL)
        self.struck.append(Struck(f"SIGKILL {unit.name}", at, at))
        await eventually(lambda: unit.restarts and unit.pid is not None)
        await eventually(partial(self._is_present, unit))

    async def _is_present(self, unit: Unit) -> bool:
        """名片递上来了：连上了库与 Redis，在干活。"""
        async with self.stage.redis() as client:
            cards = await client.hgetall(PRESENCE_CARDS)  # type: ignore[misc] # redis-py 把同步与异步的标注混在一起
        return any(json.loads(card)["pid"] == unit.pid for card in cards.values())

    async def watch(self) -> None:
        """一直看着谁手里有活，直到被取消；PostgreSQL 一时不在就再来。"""
        while True:
            with suppress(psycopg.OperationalError):
                async with self.stage.postgres() as connection:
                    while True:
                        pids = await (await connection.execute(RUNNING)).fetchall()
                        now = time.time()
                        self.busy += [(now, int(str(pid))) for (pid,) in pids]
                        await asyncio.sleep(GLANCE)  # 看的节拍
            await asyncio.sleep(LOOK)  # 库不在：歇一下再连

    async def read(self) -> None:
        """一直轮着读两个 API 的列表与最新的一个任务，直到被取消。"""
        timeout = aiohttp.ClientTimeout(total=10.0)
        async with aiohttp.ClientSession(timeout=timeout, headers=self.stage.authorization) as session:
            for number in itertools.count():
                port = self.stage.api_ports[number % len(self.stage.api_ports)]
                path = LISTS[number // len(self.stage.api_ports) % len(LISTS)]
                try:
                    async with session.get(f"http://{LOOPBACK}:{port}/api/v1/{path}") as answer:
                        heard = Heard(time.time(), port, answer.status, path)
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    heard = Heard(time.time(), port, 0, type(error).__name__)
                self.load.heard.append(heard)
                await asyncio.sleep(LOOK)
