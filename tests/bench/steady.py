"""稳态：任务按泊松过程到达，经 HTTP API 进一个队列，整套都在跑。量多久开始、每个任务花掉什么。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from kaguan.dev.simulator import iccid_at
from kaguan.sims.vocabulary import Carrier
from tests.bench.backlog import UNSETTLED
from tests.bench.body import REST, rest
from tests.bench.counters import Counters, Tables, read_counters, read_tables
from tests.bench.cpu import cpu_seconds
from tests.bench.laboratory import Laboratory
from tests.bench.load import Load, Report
from tests.bench.stack import NOOP, REAL, Stack, open_stack

GENERATOR = "client"
PATIENCE = 120.0  # 秒
LOOK = 0.2  # 秒
MICROSECONDS = 1e6
GRACE = 1.0  # 秒：最后一个到达之后这么久，还没做完的算落下
ICCID = iccid_at(Carrier.ONELINK, 0)
CARD = "insert into tb_sim (iccid, carrier, luhn_valid) values (%s, %s, true) on conflict do nothing"
FRESH = "update tb_sim set status_synced_at = now() + interval '1 day' where iccid = %s"
WAITED = "extract(epoch from coalesce(started_at, clock_timestamp()) - created_at) * 1000"
# 最后一个到达的先算好：刚清过的表，规划器也许以为只有几行，每行都去数一遍
LATENCIES = (
    "with t as materialized (select max(created_at) as last from tb_task)"
    f" select count(*), percentile_cont(array[0.5, 0.95, 0.99]) within group (order by {WAITED}),"
    " count(*) filter (where finished_at is null or finished_at > last + make_interval(secs => %s))"
    " from tb_task, t where created_at > %s"
)
SECOND_BY_SECOND = (
    f"select floor(extract(epoch from created_at - first))::int, count(*),"
    f" percentile_cont(0.5) within group (order by {WAITED}),"
    f" percentile_cont(0.95) within group (order by {WAITED})"
    " from tb_task, (select min(created_at) as first from tb_task where created_at > %s) as t"
    " where created_at >= first group by 1 order by 1"
)


@dataclass(frozen=True, slots=True)
class Workload:
    """提交什么、谁来做。"""

    path: str
    following: str
    worker: str


EMAIL = Workload("/api/v1/tasks/email", REST, NOOP)  # 处理器什么也不做
SIM = Workload("/api/v1/tasks/sim", rest({"iccids": [ICCID]}), REAL)  # 真的处理器；卡刚看过，所以只读


@dataclass(frozen=True, slots=True)
class Second:
    """这一秒到达的任务，与它们多久开始（毫秒）。"""

    second: int
    tasks: int
    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class Window:
    """一段稳态。延迟从受理到开始，毫秒；``cpu`` 起是平均每个任务的，CPU 单位微秒。

    Attributes:
        left: 最后一个到达之后 ``GRACE`` 秒还没做完的。
        busy: 施压期间各部分占一个核的几成。
    """

    tasks: int
    left: int
    p50: float
    p95: float
    p99: float
    http: Report
    seconds: tuple[Second, ...]
    busy: Mapping[str, float]
    cpu: Mapping[str, float]
    commands: Mapping[str, float]
    statements: float
    wal: float

    @property
    def cpu_of_stack(self) -> float:
        """整套的，施压的不算。"""
        return sum(self.cpu.values()) - self.cpu[GENERATOR]


@dataclass(frozen=True, slots=True)
class Figures:
    """一个速率。

    Attributes:
        whole: 从整套起来之前到停下之后，``all_tasks`` 个任务（预热的在内）一共的。
    """

    rate: float
    windows: tuple[Window, ...]
    all_tasks: int
    whole: Tables

    def each(self, read: Callable[[Window], float]) -> list[float]:
        return [read(window) for window in self.windows]


@dataclass(frozen=True, slots=True)
class Steady:
    """一套在跑的，一段一段地施压。"""

    laboratory: Laboratory
    load: Load
    stack: Stack
    workload: Workload

    async def warm(self, rate: float) -> None:
        await self.press(rate, self.laboratory.scale.warm)
        cpu_seconds(self.stack.processes)  # 有谁起来就死了，现在就说，不空等
        await self.settled()

    async def measure(self, rate: float, seconds: float) -> Window:
        """等上一段都做完了再开始；这一段的也等做完，再算账。"""
        laboratory, processes = self.laboratory, self.stack.processes
        ((since,),) = await laboratory.administer("select clock_timestamp()")
        counters, started = await read_counters(laboratory), cpu_seconds(processes)
        http = await self.press(rate, seconds)
        pressed = cpu_seconds(processes)
        await asyncio.sleep(GRACE)
        await self.settled()
        finished, counted = cpu_seconds(processes), await read_counters(laboratory) - counters
        ((tasks, (p50, p95, p99), left),) = await laboratory.execute(LATENCIES, (GRACE, since))
        rows = await laboratory.execute(SECOND_BY_SECOND, (since,))
        return Window(
            tasks,
            left,
            p50,
            p95,
            p99,
            http,
            tuple(Second(*row) for row in rows),
            busy=_spent(started, pressed, http, http.seconds),
            cpu=_spent(started, finished, http, tasks / MICROSECONDS),
            commands={name: calls / tasks for name, calls in counted.commands.items() if calls},
            statements=counted.statements / tasks,
            wal=counted.wal / tasks,
        )

    async def rest(self, seconds: float) -> tuple[Counters, float]:
        """什么也不提交，至少这些秒里一共的，与其实过了几秒：机器忙，读一次就要一会儿。"""
        clock = asyncio.get_running_loop().time
        started, before = clock(), await read_counters(self.laboratory)
        await asyncio.sleep(seconds)
        return await read_counters(self.laboratory) - before, clock() - started

    async def press(self, rate: float, seconds: float) -> Report:
        workload = self.workload
        return await self.load.paced(self.stack.port, workload.path, seconds, rate, workload.following)

    async def settled(self) -> None:
        await self.laboratory.until_none(UNSETTLED, PATIENCE, LOOK)


@asynccontextmanager
async def open_steady(
    laboratory: Laboratory,
    load: Load,
    workload: Workload = EMAIL,
    *,
    sampled: str | None = None,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Steady]:
    await laboratory.execute(CARD, (ICCID, Carrier.ONELINK.value))
    await laboratory.execute(FRESH, (ICCID,))
    async with open_stack(laboratory, workload.worker, sampled=sampled, settings=settings) as stack:
        yield Steady(laboratory, load, stack, workload)


async def run(
    laboratory: Laboratory,
    load: Load,
    rate: float,
    durations: Sequence[float],
    workload: Workload = EMAIL,
    *,
    sampled: str | None = None,
    settings: Mapping[str, str] | None = None,
) -> Figures:
    """从空表、空 Redis、刚做完的检查点与新起的进程开始，预热之后每个时长一段；落下了就不再往下压。"""
    await laboratory.clean()
    before = await read_tables(laboratory)
    async with open_steady(laboratory, load, workload, sampled=sampled, settings=settings) as steady:
        await steady.warm(rate)
        windows: list[Window] = []
        for seconds in durations:
            windows.append(await steady.measure(rate, seconds))
            if windows[-1].left:
                break
    all_tasks = int(await laboratory.number("select count(*) from tb_task"))
    return Figures(rate, tuple(windows), all_tasks, await read_tables(laboratory) - before)


def _spent(earlier: Mapping[str, float], later: Mapping[str, float], http: Report, share: float) -> dict[str, float]:
    """各部分用掉的 CPU 秒数 ÷ ``share``；施压的自己报。"""
    return {name: (used - earlier[name]) / share for name, used in later.items()} | {GENERATOR: http.cpu / share}
