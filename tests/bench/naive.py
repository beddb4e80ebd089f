"""第 27 行：一个下午写得出的信箱（rivals/naive.py），没有任何保证。同样的请求，处理器都只读一行，各种快慢轮流跑。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import LiteralString

from kaguan.dev.program import Program, Ready, ready_at_once
from kaguan.flow.probes import is_listening
from tests.bench.comparison import Result, Target, at_most, interleave, ratio
from tests.bench.cpu import cpu_seconds
from tests.bench.laboratory import SAMPLE_RATIO, Laboratory
from tests.bench.load import Load
from tests.bench.processes import output_of, running
from tests.bench.steady import GRACE, ICCID, SIM, open_steady
from tests.support.places import own_port

ROW = 27
DATABASE: LiteralString = "rival_naive"
# 每秒几个：CPU 与开始 P95 各 ÷ 它的底线、目标
RATES: Mapping[int, tuple[Target, Target | None]] = {
    50: (at_most(1.3, 1.0), at_most(1.1, 0.7)),
    200: (at_most(1.0, 0.7), at_most(1.1, 0.5)),
    300: (Target(), at_most(0.8, 0.3)),
    500: (at_most(0.8, 0.65), None),
}
PATIENCE, LOOK = 120.0, 0.2  # 秒
LEFT = "select count(*) from task where finished_at is null"
SEEN = (
    "select count(*), percentile_cont(0.95) within group (order by extract(epoch from started_at - created_at) * 1000)"
    " from task where created_at > %s"
)


@dataclass(frozen=True, slots=True)
class Naive:
    """每轮两边各起一套，各种快慢挨着跑。"""

    laboratory: Laboratory
    load: Load

    async def beside(self) -> list[Result]:
        found: dict[tuple[str, int], list[tuple[float, float]]] = {}

        async def ours() -> float:
            await self.laboratory.clean()
            async with open_steady(self.laboratory, self.load, SIM, sampled=SAMPLE_RATIO) as steady:
                await steady.warm(min(RATES))
                for rate in RATES:
                    window = await steady.measure(rate, self.laboratory.scale.steady_seconds)
                    found.setdefault(("ours", rate), []).append((window.cpu_of_stack / 1000, window.p95))
            return 0.0

        async def theirs() -> float:
            async with self._open() as press:
                await press(min(RATES), self.laboratory.scale.warm)
                for rate in RATES:
                    figures = await press(rate, self.laboratory.scale.steady_seconds)
                    found.setdefault(("theirs", rate), []).append(figures)
            return 0.0

        await interleave(self.laboratory.scale.rival_rounds, {"ours": ours, "theirs": theirs})
        results: list[Result] = []
        for rate, targets in RATES.items():
            sides = [list(zip(*found[side, rate], strict=True)) for side in ("ours", "theirs")]
            names = ("每任务 CPU（整套，施压的不算）", "受理 → 开始 P95")
            results += [
                ratio(ROW, f"每秒 {rate} 个，只读一行的处理器：{name} ÷ 一个下午写的", mine, its, "ms", target)
                for name, target, mine, its in zip(names, targets, *sides, strict=True)
                if target is not None
            ]
        return results

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Callable[[int, float], Awaitable[tuple[float, float]]]]:
        """它的三个进程；给出「这样快地提交这么久」，答每任务 CPU 与 P95（毫秒）。"""
        laboratory, port = self.laboratory, own_port()
        known = "select count(*) from pg_database where datname = %s"
        if not await laboratory.number(known, (DATABASE,)):
            await laboratory.execute(f"create database {DATABASE}")
            await output_of(self._program("install", ICCID), laboratory.directory, PATIENCE)
        await laboratory.execute("truncate task, outbox", database=DATABASE)
        await laboratory.checkpoint()
        await laboratory.flush_redis()
        async with AsyncExitStack() as stack:
            processes = dict(laboratory.servers)
            for program in (
                self._program("worker"),
                self._program("relay"),
                self._program("api", str(port), ready=partial(is_listening, port)),
            ):
                running_one = await stack.enter_async_context(running(program, laboratory.directory))
                processes[program.name] = running_one.process.pid
            yield partial(self._press, port, processes)

    async def _press(self, port: int, processes: Mapping[str, int], rate: int, seconds: float) -> tuple[float, float]:
        laboratory = self.laboratory
        ((since,),) = await laboratory.execute("select clock_timestamp()")
        before = cpu_seconds(processes)
        await self.load.paced(port, SIM.path, seconds, rate, SIM.following)
        await asyncio.sleep(GRACE)
        await laboratory.until_none(LEFT, PATIENCE, LOOK, DATABASE)
        after = cpu_seconds(processes)
        ((tasks, p95),) = await laboratory.execute(SEEN, (since,), DATABASE)
        return sum(after[name] - before[name] for name in processes) / tasks * 1000, float(p95)

    def _program(self, part: str, *arguments: str, ready: Ready = ready_at_once) -> Program:
        laboratory = self.laboratory
        urls = {"RIVAL_DATABASE_URL": laboratory.database_url(DATABASE), "RIVAL_REDIS_URL": laboratory.redis_url}
        name, module = f"naive-{part}", "tests.bench.rivals.naive"
        return laboratory.module(name, module, part, *arguments, environment=urls, ready=ready)
