"""第 10–14 行：一个队列的稳态与闲着。多久开始，每个任务花掉什么，最高多快还跟得上。"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from statistics import median

from tests.bench.accepting import Accepting
from tests.bench.backlog import UNSETTLED
from tests.bench.comparison import MeasureError, Missing, Result, Target, absolute, at_most, ratio
from tests.bench.counters import read_counters
from tests.bench.cpu import cpu_seconds
from tests.bench.laboratory import Laboratory
from tests.bench.load import Load
from tests.bench.plots import Line, Plot
from tests.bench.stack import EVERYTHING
from tests.bench.steady import LOOK, PATIENCE, SIM, Figures, Steady, Window, open_steady, run

LOW, HIGH, HIGHEST = 50, 500, 2_000
BETWEEN = (200, 1_000)
PROMPT = 100.0  # 毫秒：跟得上，指受理与开始的 P95 都不超过它，且没有落下的
FIRST_STEP, LAST_STEP = 500, 250  # 每秒：先这样一步步加，跟不上了再退回去试一次
CEILING = 6_000
SMALL = 0.02  # 不到总数这么多的不列出来
MILLISECONDS, PER_TASK, PERCENT = " ms", " 次", " %"
OURS = ("api", "relay", "worker")


@dataclass(frozen=True, slots=True)
class Arriving:
    """稳态类的测量。``seen`` 攒着各速率的数，给图用。"""

    laboratory: Laboratory
    load: Load
    seen: list[Figures] = field(default_factory=list)

    async def low(self) -> list[Result]:
        figures = await run(self.laboratory, self.load, LOW, self._durations(), SIM, sampled=EVERYTHING)
        self.seen.append(figures)
        what = f"稳态 {LOW}/s，只读的处理器，跟踪全采样并导出"
        commits = figures.whole.commits / figures.all_tasks
        return [
            self._start(10, what, figures),
            self._cpu(10, what, figures),
            absolute(
                10,
                f"{what}：每任务 Redis 命令",
                figures.each(lambda w: sum(w.commands.values())),
                PER_TASK,
                at_most(10, 6),
                _largest(figures, lambda window: window.commands),
            ),
            absolute(10, f"{what}：每任务 PostgreSQL 提交", [commits], PER_TASK, at_most(4, 3), _statements(figures)),
        ]

    async def high(self) -> list[Result]:
        figures = await self._plain(HIGH)
        what = f"稳态 {HIGH}/s，空处理器"
        tasks, whole = figures.all_tasks, figures.whole
        return [
            self._start(11, what, figures),
            self._cpu(11, what, figures),
            absolute(11, f"{what}：每任务 PostgreSQL 提交", [whole.commits / tasks], PER_TASK, at_most(0.8, 0.5),
                     _statements(figures)),
            absolute(11, f"{what}：每任务 WAL", figures.each(lambda w: w.wal / 1000), " KB", at_most(2.2, 1.6)),
            *await self._after_checkpoint(),
            absolute(11, f"{what}：每任务改 tb_task", [whole.record_updates / tasks], PER_TASK, at_most(1, 1)),
            absolute(11, f"{what}：各表的更新里 HOT 的", [100 * whole.hot_updates / max(whole.updates, 1)], PERCENT,
                     Target(50, 95), f"每任务 {whole.updates / tasks:.2f} 次更新"),
        ]  # fmt: skip

    async def others(self) -> list[Result | Missing]:
        results: list[Result | Missing] = []
        for rate in (*BETWEEN, HIGHEST):
            what = f"稳态 {rate:,}/s，空处理器"
            try:
                figures = await self._plain(rate, None if rate == HIGHEST else 1)
            except MeasureError as error:
                results.append(Missing(12, what, str(error)))
                continue
            results.append(self._start(12, what, figures))
            if rate == HIGHEST:
                results.append(self._cpu(12, what, figures))
        return results

    async def highest(self) -> list[Result]:
        """一步步加到跟不上，再退半步试一次；都在同一套上，一段做完才做下一段。"""
        await self.laboratory.clean()
        async with open_steady(self.laboratory, self.load) as steady:
            await steady.warm(HIGH)
            reached, rate, why = 0, FIRST_STEP, ""
            while rate <= CEILING and not (why := await self._behind(steady, rate)):
                reached, rate = rate, rate + FIRST_STEP
            if why and not await self._behind(steady, reached + LAST_STEP):
                reached += LAST_STEP
        measured = f"再快就跟不上：{rate:,}/s 时{why}" if why else "没有试更快的"
        what = f"最高的稳态：受理、受理 → 开始的 P95 都 ≤ {PROMPT:.0f} ms，最后一个到达 1 秒后没有剩下的"
        bare = await Accepting(self.laboratory, self.load).bare()
        return [
            ratio(
                13,
                f"{what}；÷ 裸 aiohttp + psycopg 受理的请求/秒",
                [reached] * len(bare),
                bare,
                "/s",
                Target(0.6, 0.85),
            ),
            Result(13, what, reached, (reached, rate), measured, Target(), "/s"),
        ]

    async def idle(self) -> list[Result]:
        """先做一阵活，再什么也不做。"""
        scale = self.laboratory.scale
        await self.laboratory.clean()
        shares: list[float] = []
        async with open_steady(self.laboratory, self.load) as steady:
            await steady.warm(LOW)
            await asyncio.sleep(scale.warm)
            before = await read_counters(self.laboratory)
            for _ in range(scale.windows):
                started = cpu_seconds(steady.stack.processes)
                await asyncio.sleep(scale.idle_seconds)
                spent = cpu_seconds(steady.stack.processes)
                shares.append(sum(spent[name] - started[name] for name in OURS) / scale.idle_seconds * 100)
            counted = await read_counters(self.laboratory) - before
        seconds = scale.windows * scale.idle_seconds
        commands, largest = sum(counted.commands.values()) / seconds, most(counted.commands, 1 / seconds)
        return [
            absolute(14, "闲着：API + relay + worker 占一个核的", shares, PERCENT, at_most(1.5, 0.7)),
            absolute(14, "闲着：各进程一共每秒 Redis 命令", [commands], PER_TASK, at_most(16, 6), largest),
            absolute(14, "闲着：各进程一共每秒语句", [counted.statements / seconds], PER_TASK, at_most(8, 4)),
        ]

    def plots(self) -> list[Plot]:
        if not self.seen:
            return []
        ordered = sorted(self.seen, key=lambda figures: figures.rate)
        against = [
            Line((name, name), [(figures.rate, max(0.1, median(figures.each(read)))) for figures in ordered])
            for name, read in (("P50", lambda w: w.p50), ("P95", lambda w: w.p95), ("P99", lambda w: w.p99))
        ]
        course = [
            Line(
                (f"{figures.rate:g}/s", f"{figures.rate:g}/s"),
                list(enumerate(second.p95 for window in figures.windows for second in window.seconds)),
            )
            for figures in ordered
        ]
        start = ("受理 → 开始，一个队列", "accept to start, one queue")
        start_95 = ("受理 → 开始 P95，逐秒", "accept to start, P95 of each second")
        ms = ("毫秒", "ms")
        return [
            Plot("latency-by-rate", start, ("每秒到达", "arrivals/s"), ms, against, log_x=True, log_y=True),
            Plot("latency-by-second", start_95, ("第几秒到达", "second of arrival"), ms, course, log_y=True),
        ]

    async def _plain(self, rate: float, windows: int | None = None) -> Figures:
        figures = await run(self.laboratory, self.load, rate, self._durations()[:windows])
        self.seen.append(figures)
        return figures

    def _durations(self) -> list[float]:
        return [self.laboratory.scale.steady_seconds] * self.laboratory.scale.windows

    def _start(self, row: int, what: str, figures: Figures) -> Result:
        left = max(figures.each(lambda window: window.left))
        measured = (
            f"P50 {median(figures.each(lambda w: w.p50)):.1f}、P99 {median(figures.each(lambda w: w.p99)):.1f} ms；"
            f"受理的 P95 {median(figures.each(lambda w: w.http.p95)):.1f} ms；"
            + (f"落下至多 {left:.0f} 个" if left else "没有落下的")
        )
        return absolute(
            row, f"{what}：受理 → 开始 P95", figures.each(lambda w: w.p95), MILLISECONDS, Target(), measured
        )

    def _cpu(self, row: int, what: str, figures: Figures) -> Result:
        each = figures.each(lambda window: window.cpu_of_stack / 1000)
        measured = _largest(figures, lambda window: {name: used / 1000 for name, used in window.cpu.items()})
        return absolute(row, f"{what}：整套每任务 CPU", each, MILLISECONDS, Target(), measured)

    async def _after_checkpoint(self) -> list[Result]:
        """先有一批做完的任务，索引才像用过的样子；检查点之后，每页头一次改都要整页写进 WAL。"""
        laboratory, scale = self.laboratory, self.laboratory.scale
        what = f"检查点之后的 {scale.steady_seconds:g} 秒，{LOW}/s，库里已有 {scale.history:,} 个做完的：每任务 WAL"
        targets = {"random": at_most(5, 3), "timed": Target()}
        results: list[Result] = []
        for numbers, target in targets.items():
            await laboratory.clean()
            await laboratory.filled(scale.history)
            found: list[float] = []
            async with open_steady(laboratory, replace(self.load, numbers=numbers)) as steady:
                await laboratory.until_none(UNSETTLED, PATIENCE, LOOK)
                await steady.warm(LOW)
                for _ in range(scale.windows if numbers == "random" else 1):
                    await laboratory.checkpoint()
                    found.append((await steady.measure(LOW, scale.steady_seconds)).wal / 1000)
            row = what if numbers == "random" else f"{what}，请求号时间在前（UUIDv7）"
            results.append(absolute(11, row, found, " KB", target))
        return results

    async def _behind(self, steady: Steady, rate: float) -> str:
        """跟不上的理由；跟得上为空。"""
        try:
            window = await steady.measure(rate, self.laboratory.scale.steady_seconds)
        except MeasureError as error:
            return str(error)
        if window.left:
            return f"落下 {window.left:,} 个"
        if window.http.p95 > PROMPT:  # 堵在 API 前面的，也是跟不上
            return f"受理的 P95 {window.http.p95:,.0f} ms"
        return f" P95 {window.p95:.0f} ms" if window.p95 > PROMPT else ""


def _statements(figures: Figures) -> str:
    return f"语句 {median(figures.each(lambda window: window.statements)):.1f}"


def _largest(figures: Figures, read: Callable[[Window], Mapping[str, float]]) -> str:
    """中间那一段里各占多少，大的在前。"""
    return most(read(figures.windows[len(figures.windows) // 2]))


def most(parts: Mapping[str, float], each: float = 1) -> str:
    ordered = sorted(parts.items(), key=lambda part: -part[1])
    return "、".join(f"{name} {value * each:.2f}" for name, value in ordered if value >= SMALL * sum(parts.values()))
