"""第 7、15、16、30 行：执行。排空积压、稳态各与对手轮流跑；还有等着的处理器。都是一个队列、一个 worker 进程。"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median

from kaguan.sims.tasks import SIM_STATUS_SYNC
from kaguan.sims.vocabulary import Carrier
from tests.bench.backlog import MAIL, UNSETTLED, Waiting
from tests.bench.comparison import (
    MeasureError,
    Missing,
    Result,
    Target,
    absolute,
    alternate,
    at_most,
    interleave,
    ratio,
)
from tests.bench.laboratory import SAMPLE_RATIO, Laboratory
from tests.bench.ledgers import RIVALS
from tests.bench.load import Load
from tests.bench.plots import Line, Plot
from tests.bench.rivalry import Paced, Rival
from tests.bench.stack import NOOP, REAL, open_stack
from tests.bench.steady import CARD, FRESH, ICCID, run

READING_ROW = 30
OURS = "kaguan"
PATIENCE = 300.0  # 秒
LOOK = 0.2  # 秒
LESS = 10  # 图里另有一点：积压的几分之一
# 每秒几个：P95 与 CPU 各 ÷ Oban 的底线、目标；只有快的一个与所有对手比
RATES = {500: (at_most(1.2, 0.8), at_most(1.3, 0.9)), 50: (at_most(1.5, 1.0), at_most(2, 1.2))}
RATE = max(RATES)
ANCHOR = "Oban"
COUNTED = ("worker", "relay", "postgres", "valkey")
WAIT, CONCURRENCY = 0.05, 100
WAITING = {"KAGUAN_WORKER__CONCURRENCY": str(CONCURRENCY), "BENCH_WAIT": str(WAIT)}
SPAN = (
    "select extract(epoch from max(finished_at) - least(min(queued_at), min(started_at)))::float8 from tb_task "
    "where status = 'succeeded'"
)
# 没有底线的只公布
DRAINED = {"oban": Target(1.2, 2), "saq": Target(2, 3), "pgqueuer": Target(0.35, 0.6), "procrastinate": Target(8, 15)}


@dataclass(frozen=True, slots=True)
class Processing:
    """执行类的测量。``drained`` 攒着（谁，积压，每秒），给图用。"""

    laboratory: Laboratory
    load: Load
    drained: list[tuple[str, int, float]] = field(default_factory=list)

    async def drain(self) -> list[Result | Missing]:
        scale = self.laboratory.scale
        what = f"排空 {scale.tasks:,} 个等着的，空处理器，一个队列，一个 worker 进程（连同 relay）÷ "
        rivals, missing = await self._rivals(7, what)

        async def side(name: str, rows: int, drain: Callable[[int], Awaitable[float]]) -> float:
            rate = await drain(rows)
            self.drained.append((name, rows, rate))
            return rate

        def sides(rows: int) -> Mapping[str, Callable[[], Awaitable[float]]]:
            theirs = {r.name: partial(side, r.name, round(rows * r.share), r.drain) for r in rivals}
            return {OURS: partial(side, OURS, rows, self._drain), **theirs}

        failures: dict[str, str] = {}
        await interleave(1, sides(scale.tasks // LESS), failures)
        bound = {OURS, *(rival.name for rival in rivals if rival.module in DRAINED)}
        figures = await _interleaved(scale.rival_rounds, sides(scale.tasks), bound, failures)
        missing += [Missing(7, what + name, why) for name, why in failures.items()]
        return missing + [
            ratio(7, what + rival.name, figures[OURS][: len(its)], its, "任务/秒", DRAINED.get(rival.module, Target()))
            for rival in rivals
            if not {OURS, rival.name} & failures.keys()
            for its in [figures[rival.name]]
        ]

    async def pace(self) -> list[Result | Missing]:
        """对手只入队，没有 HTTP；我们从受理算起，按生产的比例采样并导出。"""
        rivals, results = await self._rivals(15, f"稳态 {RATE}/s，轮流跑，入队 → 开始 P95：")
        for rate, targets in RATES.items():
            results += await self._paced(rate, [r for r in rivals if rate == RATE or r.name == ANCHOR], targets)
        return results

    async def _paced(
        self, rate: int, rivals: Sequence[Rival], targets: tuple[Target, Target]
    ) -> list[Result | Missing]:
        seconds = self.laboratory.scale.steady_seconds
        paced: dict[str, list[Paced]] = {OURS: [], **{rival.name: [] for rival in rivals}}

        async def ours() -> float:
            figures = await run(self.laboratory, self.load, rate, [seconds], sampled=SAMPLE_RATIO)
            (window,) = figures.windows
            paced[OURS].append(Paced(window.p95, window.left, sum(window.cpu[part] for part in COUNTED)))
            return window.p95

        async def theirs(rival: Rival) -> float:
            paced[rival.name].append(await rival.pace(rate, seconds))
            return paced[rival.name][-1].p95

        sides: Mapping[str, Callable[[], Awaitable[float]]] = {
            OURS: ours,
            **{rival.name: partial(theirs, rival) for rival in rivals},
        }
        failures: dict[str, str] = {}
        figures = await _interleaved(self.laboratory.scale.rival_rounds, sides, {OURS, ANCHOR}, failures)
        start, cost = f"稳态 {rate}/s，轮流跑，入队 → 开始 P95", f"稳态 {rate}/s，每任务 CPU（worker、relay 与服务器）"
        results: list[Result | Missing] = [Missing(15, f"{start}：{name}", why) for name, why in failures.items()]
        if ANCHOR in figures and not {OURS, ANCHOR} & failures.keys():
            spent = {name: [each.cpu / 1000 for each in found] for name, found in paced.items()}
            results += [
                ratio(15, f"{start} ÷ {ANCHOR} 的", figures[OURS], figures[ANCHOR], "ms", targets[0]),
                ratio(15, f"{cost} ÷ {ANCHOR} 的", spent[OURS], spent[ANCHOR], "ms", targets[1]),
            ]
        return results + [
            absolute(15, f"{start}：{name}", each, " ms", Target(), _cost(paced[name]))
            for name, each in figures.items()
            if name not in failures
        ]

    async def wait(self) -> list[Result | Missing]:
        """处理器等一下，不占 CPU：并发数够不够用满。"""
        scale = self.laboratory.scale
        most = CONCURRENCY / WAIT
        rates = [await self._drain(round(most * scale.seconds), WAITING) for _ in range(scale.windows)]
        what = f"处理器各等 {WAIT * 1000:.0f} ms，并发 {CONCURRENCY}，一个队列：任务/秒 ÷ {most:,.0f}"
        measured = f"{median(rates):,.0f} 任务/秒"
        return [absolute(16, what, [rate / most for rate in rates], "", Target(0.85, 0.95), measured)]

    def plots(self) -> list[Plot]:
        """每个大小取各轮的中位数。"""
        if not self.drained:
            return []
        lines = [
            Line(
                (name, name),
                [
                    (size, median(rate for who, rows, rate in self.drained if (who, rows) == (name, size)))
                    for size in sorted({rows for who, rows, _ in self.drained if who == name})
                ],
            )
            for name in dict.fromkeys(who for who, _, _ in self.drained)
        ]
        title = ("排空积压，空处理器，一个 worker 进程", "drain, no-op handler, one worker process")
        across, up = ("积压", "backlog"), ("任务/秒", "tasks/s")
        return [Plot("drain-by-backlog", title, across, up, lines, log_x=True, log_y=True)]

    async def reading(self) -> list[Result]:
        """真的处理器：问一张刚看过的卡，所以只读一行。"""
        laboratory, scale = self.laboratory, self.laboratory.scale
        await laboratory.execute(CARD, (ICCID, Carrier.ONELINK.value))
        await laboratory.execute(FRESH, (ICCID,))
        waiting = Waiting(SIM_STATUS_SYNC.name, f'{{"v": 1, "iccids": ["{ICCID}"]}}')
        sides = partial(self._drain, scale.tasks, worker=REAL, waiting=waiting), partial(self._drain, scale.tasks)
        figures = await alternate(scale.rival_rounds, *sides)
        what = f"排空 {scale.tasks:,} 个等着的，一个 worker 进程：读一行的处理器 ÷ 空处理器"
        return [ratio(READING_ROW, what, *figures, "任务/秒", Target(0.7, 0.85))]

    async def _drain(
        self,
        rows: int,
        settings: Mapping[str, str] | None = None,
        *,
        worker: str = NOOP,
        waiting: Waiting = MAIL,
    ) -> float:
        """relay 最后起：转交也在量的时间里。"""
        laboratory = self.laboratory
        await laboratory.clean()
        await laboratory.filled(rows, waiting=waiting)
        async with open_stack(laboratory, worker, settings=settings):
            await laboratory.until_none(UNSETTLED, PATIENCE, LOOK)
        done = await laboratory.number("select count(*) from tb_task where status = 'succeeded' and attempt = 1")
        if done != rows:
            raise MeasureError(f"{rows} 个任务只有 {done:.0f} 个一次成功")
        return rows / await laboratory.number(SPAN)

    async def _rivals(self, row: int, what: str) -> tuple[list[Rival], list[Result | Missing]]:
        """备得好的，与备不好的为什么。"""
        ready: list[Rival] = []
        missing: list[Result | Missing] = []
        for name, make in RIVALS.items():
            try:
                rival = make(self.laboratory)
                await rival.prepare()
            except MeasureError as error:
                missing.append(Missing(row, f"{what}{name}", str(error)))
            else:
                ready.append(rival)
        return ready, missing


async def _interleaved(
    rounds: int, sides: Mapping[str, Callable[[], Awaitable[float]]], bound: Collection[str], failures: dict[str, str]
) -> dict[str, list[float]]:
    """有底线的跑满各轮，只公布的跟在头一轮后面。"""
    first = await interleave(1, sides, failures)
    more = await interleave(rounds - 1, {name: side for name, side in sides.items() if name in bound}, failures)
    return {name: figures + more.get(name, []) for name, figures in first.items()}


def _cost(paced: Sequence[Paced]) -> str:
    left = max(each.left for each in paced)
    behind = f"；落下至多 {left} 个" if left else ""
    return f"每任务 CPU {median(each.cpu for each in paced) / 1000:.2f} ms{behind}"
