"""对手怎么跑：各在自己的环境、自己的库，一个 worker 进程。开始与做完的时刻，读它们自己记的账。"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson

from kaguan.dev.program import Program
from tests.bench.comparison import MeasureError
from tests.bench.cpu import cpu_seconds
from tests.bench.laboratory import Laboratory
from tests.bench.load import Report
from tests.bench.processes import output_of, running
from tests.support.repository import ROOT

PATIENCE = 300.0  # 秒
LOOK = 0.2  # 秒
GRACE = 1.0  # 秒
NEARLY = 0.999  # 少几个不算它没做完：SAQ 的清扫偶尔把刚取走、还没开始的当成卡住的


@dataclass(frozen=True, slots=True)
class Paced:
    """定速入队的一次：从入队到开始的 P95 毫秒，剩下没做完的，与每任务的 CPU 微秒（入队的不算）。"""

    p95: float
    left: int
    cpu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival(ABC):
    """一个对手。

    Attributes:
        server: 它存活的服务器。
        knob: 它的并发数或批的大小：``knobs`` 里排空最快的一个；``steady_knob`` 是稳态延迟最低的。
        share: 排空时给它的活占几成：慢的少给，比的是每秒多少。
    """

    laboratory: Laboratory
    name: str
    module: str
    python: str
    knob: str
    steady_knob: str
    knobs: tuple[str, ...]
    share: float = 1.0
    server: str = "postgres"

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, str]: ...

    @abstractmethod
    async def prepare(self) -> None: ...

    @abstractmethod
    async def clean(self) -> None: ...

    @abstractmethod
    async def left(self) -> int: ...

    @abstractmethod
    async def done(self) -> tuple[int, float]:
        """做完几个，首个开始到最后一个做完是几秒。"""

    @abstractmethod
    async def waits(self) -> list[float]: ...

    async def ask(self, *arguments: str) -> bytes:
        return await output_of(self._program(self.knob, *arguments), self.laboratory.directory, PATIENCE)

    @asynccontextmanager
    async def working(self, knob: str) -> AsyncIterator[int]:
        async with running(self._program(knob, "work"), self.laboratory.directory) as worker:
            yield worker.process.pid

    async def drain(self, rows: int) -> float:
        """备好 ``rows`` 个再起 worker；每秒做完几个。"""
        await self.clean()
        await self.ask("fill", str(rows))
        await self.laboratory.checkpoint()
        async with self.working(self.knob):
            await self._settled()
        done, seconds = await self.done()
        if done < rows * NEARLY:
            raise MeasureError(f"{self.name}：{rows} 个只有 {done} 个做完")
        return done / seconds

    async def pace(self, rate: float, seconds: float) -> Paced:
        """先起 worker、预热，再开环入队；预热的不算。"""
        await self.clean()
        async with self.working(self.steady_knob) as worker:
            await self.press(rate, self.laboratory.scale.warm)
            await self._settled()
            await self.clean()
            processes = {"worker": worker, self.server: self.laboratory.servers[self.server]}
            before = cpu_seconds(processes)
            report = await self.press(rate, seconds)
            await asyncio.sleep(GRACE)
            after = cpu_seconds(processes)
            if left := await self.left():  # 数还剩几个不算在它账上，除非真的还剩
                await self._settled()
                after = cpu_seconds(processes)
        spent = sum(after[name] - before[name] for name in processes)
        waits = sorted(await self.waits())
        return Paced(waits[int(0.95 * (len(waits) - 1))], left, spent / report.requests * 1e6)

    async def press(self, rate: float, seconds: float) -> Report:
        return Report(**orjson.loads(await self.ask("press", "--rate", str(rate), "--seconds", str(seconds))))

    def _program(self, knob: str, *arguments: str) -> Program:
        argv = (self.python, "-m", f"tests.bench.rivals.{self.module}", *arguments)
        return Program(self.module, argv, ROOT, environment={**self.settings, "RIVAL_KNOB": knob})

    async def _settled(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while await self.left():  # noqa: ASYNC110 等的是它库里的状态
                    await asyncio.sleep(LOOK)
        except TimeoutError:
            raise MeasureError(f"{self.name}：{PATIENCE:g} 秒还没做完") from None
