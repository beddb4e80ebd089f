"""日程与出手：带种子的日程决定在什么进度下哪一手；出手的自己恢复。"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import psycopg
from redis.exceptions import RedisError

from kaguan.dev.program import StartError
from tests.chaos.catalogue import CATALOGUE, DIRECTED, STANDBY
from tests.chaos.process_faults import BACKLOG_FLUSH, Missed
from tests.chaos.stage import Stage

FIRST = 0.03  # 进度：系统先热起来
PAIRED = 5  # 每这么多次有一次与前一次同时下手：重叠的故障也要考
TRIES = 5  # 同时的另一个故障先到：等它过去再下手
AGAIN = 1.0  # 秒
WIDE = 2.2  # 倍：十万个任务、200 次、21 分钟，一格约 11 秒，比停得最久的故障连同它的恢复还长
JITTER = 0.6  # 一格之内的随机；其余是留给恢复的空当


@dataclass(frozen=True, slots=True)
class Planned:
    """进度到 ``at`` （0–1）时下手。"""

    at: float
    kind: str


def schedule(count: int, seed: int, kinds: tuple[str, ...] = tuple(CATALOGUE)) -> list[Planned]:
    """像发牌：每种轮到一次才再洗牌，因此各种至多差一次；时刻一格一次，每 ``PAIRED`` 次有一次成双。

    够长的（每种两次以上），第一轮一格宽 ``WIDE`` 倍、不成双：每种至少有一次单独的，恢复用时才量得到；定了期限的
    「积压时 FLUSHALL」排在最前，前面没有别的故障。
    """
    source = random.Random(f"faults-{seed}")
    deck: list[str] = []
    while len(deck) < count:
        deck += source.sample(kinds, len(kinds))
    alone = len(kinds) if count > 2 * len(kinds) else 0
    deck[:alone] = sorted(deck[:alone], key=lambda kind: kind != BACKLOG_FLUSH)
    step = (1.0 - FIRST) / max(count + alone * (WIDE - 1.0), 1.0)
    moments: list[float] = []
    for number in range(count):
        wide = min(number, alone)
        before = number + wide * (WIDE - 1.0)
        at = FIRST + step * (before + source.uniform(0.0, JITTER))
        paired = number > alone and number % PAIRED == PAIRED - 1
        moments.append(moments[-1] if paired else at)
    return [Planned(at, kind) for at, kind in zip(moments, deck, strict=False)]


@dataclass(frozen=True, slots=True)
class Struck:
    """下了手的一次：从 ``at`` 到 ``ended`` （Unix 秒）；``missed`` 是没打中的原因。"""

    kind: str
    at: float
    ended: float
    missed: str = ""


@dataclass(slots=True)
class Striker:
    """按日程下手。动同一个目标的故障一次一个，别的可以重叠。"""

    stage: Stage
    seed: int
    again: float = AGAIN
    struck: list[Struck] = field(default_factory=list)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _locks: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    def strike(self, number: int, kind: str) -> None:
        task = asyncio.create_task(self._strike(number, kind), name=kind)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _strike(self, number: int, kind: str) -> None:
        source = random.Random(f"{self.seed}-{number}")
        fault = {**CATALOGUE, **DIRECTED, **STANDBY}[kind]
        async with AsyncExitStack() as held:
            for target in fault.target.split() or [f"#{number}"]:
                await held.enter_async_context(self._locks[target])
            at, missed = time.time(), ""
            for _ in range(TRIES):
                try:
                    await fault.act(self.stage, source)
                except Missed as reason:
                    missed = str(reason)
                except (psycopg.Error, RedisError, OSError, StartError) as error:
                    missed = type(error).__name__
                    await asyncio.sleep(self.again)
                    continue
                else:
                    missed = ""
                break
            self.struck.append(Struck(kind, at, time.time(), missed))

    async def healed(self) -> None:
        """等手头的都恢复，再确保没有遗留。"""
        await asyncio.gather(*self._running)
        for server in (self.stage.servers.postgres_process, self.stage.servers.valkey_process):
            if server.process is None or server.process.returncode is not None:
                await server.start()
        if self.stage.servers.watched is not None:
            await self.stage.servers.watched.heal()
        for proxy in self.stage.proxies.values():
            proxy.heal()
        for unit in self.stage.fleet.all():
            unit.send(signal.SIGCONT)
        async with self.stage.redis() as client:
            await client.config_set("maxmemory", 0)
