"""第 18–20 行：与别人共用。别人堆着活时多久轮到我；队列里的活被清空之后多久重来；做得多了内存涨不涨。"""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.backlog import UNSETTLED
from tests.bench.comparison import MeasureError, Result, absolute, at_most, ratio
from tests.bench.cpu import resident_mib
from tests.bench.laboratory import Laboratory
from tests.bench.load import Load
from tests.bench.processing import WAITING
from tests.bench.stack import open_stack
from tests.bench.steady import open_steady

RATES = (50, 500)  # 每秒；后一个是 FAULTS.md 第 77 行
RATE = RATES[0]
BULK = "bulk"
ENOUGH = 20  # 这么几个以下，P95 不算数
PATIENCE = 300.0  # 秒
LOOK = 0.2  # 秒
HANDED_OVER = "select count(*) from tb_outbox"
MINE = (
    "select count(*), percentile_cont(0.95) within group (order by extract(epoch from started_at - created_at) * 1000)"
    " from tb_task where principal <> %s and created_at >= %s and created_at <"
    " (select max(started_at) from tb_task where principal = %s)"
)
REDRIVEN = (
    "select extract(epoch from min(started_at) filter (where delivery > 1) - %s)::float8,"
    " extract(epoch from max(finished_at) - %s)::float8 from tb_task"
)
SLICES = 10
OURS = ("api", "relay", "worker")


@dataclass(frozen=True, slots=True)
class Sharing:
    laboratory: Laboratory
    load: Load

    async def fair(self) -> list[Result]:
        """别人的活堆进转着的一套；只算它还没做完时提交的。"""
        scale = self.laboratory.scale
        results: list[Result] = []
        for rate in RATES:
            what = f"别人有 {scale.bulk:,} 个在同一个队列里等着，我每秒提交 {rate} 个：受理 → 开始 P95"
            beside, alone = zip(
                *[await self._beside(rate) for _ in range(scale.windows if rate == RATE else 1)], strict=True
            )
            results.append(ratio(18, f"{what} ÷ 没有别人时", beside, alone, "ms", at_most(4, 1.5)))
        return [*results, absolute(18, what, beside, " ms", at_most(200, 50))]

    async def _beside(self, rate: float) -> tuple[float, float]:
        """旁边有别人的，与没有的。"""
        laboratory, scale = self.laboratory, self.laboratory.scale
        await laboratory.clean()
        async with open_steady(laboratory, self.load) as steady:
            await steady.warm(rate)
            alone = await steady.measure(rate, scale.seconds)
            await laboratory.filled(scale.bulk, BULK)
            ((since,),) = await laboratory.execute("select clock_timestamp()")
            await steady.press(rate, scale.seconds)
            await steady.settled()
        ((count, p95),) = await laboratory.execute(MINE, (BULK, since, BULK))
        if count < ENOUGH:
            raise MeasureError(f"别人的 {scale.bulk:,} 个做完之前只提交了 {count} 个，不够算 P95：请加大积压")
        return float(p95), alone.p95

    async def flushed(self) -> list[Result]:
        """worker 冻着，活都交进 Redis；清空与不清空各跑一遍，看多花多少。

        处理器各等一下，做完要多久因此是算得出的：先清空的机器再快，也显不出重投花的。
        """
        scale = self.laboratory.scale
        firsts: list[float] = []
        alls: list[float] = []
        usual: list[float] = []
        for _ in range(scale.flush_rounds):
            usual.append((await self._released(flush=False))[1])
            first, every = await self._released(flush=True)
            if first is None:
                raise MeasureError("清空之后没有一个是重投的：活没有都在 Redis 里")
            firsts.append(first)
            alls.append(every)
        what = f"Redis 清空时有 {scale.tasks:,} 个在里面"
        return [
            absolute(19, f"{what}：第一个重投的开始", firsts, " s", at_most(2, 0.5)),
            ratio(19, f"{what}：全部做完 ÷ 没有清空时", alls, usual, "秒", at_most(1.3, 1.1)),
        ]

    async def _released(self, *, flush: bool) -> tuple[float | None, float]:
        """放行之后，第一个重投的几秒开始，全部几秒做完。"""
        laboratory, tasks = self.laboratory, self.laboratory.scale.tasks
        await laboratory.clean()
        # 平时只放做得过来的；这里要全在 Redis 里。窗口快满的要空出一批才再补，所以多开一倍
        wide = {"KAGUAN_RELAY__HIGH_WATER": str(2 * tasks), "KAGUAN_RELAY__WINDOW": str(2 * tasks)}
        async with open_stack(laboratory, settings=WAITING | wide) as stack:
            stack.worker.pause()
            await laboratory.filled(tasks)
            await laboratory.until_none(HANDED_OVER, PATIENCE, LOOK)
            if flush:
                await laboratory.flush_redis()
            ((since,),) = await laboratory.administer("select clock_timestamp()")
            stack.worker.resume()
            await laboratory.until_none(UNSETTLED, PATIENCE, LOOK)
        ((first, every),) = await laboratory.execute(REDRIVEN, (since, since))
        return first, every

    async def memory(self) -> list[Result]:
        """提交、转交、执行一直压满；后面各段的最高 ÷ 头一段（十分之一）的最高。"""
        laboratory, scale = self.laboratory, self.laboratory.scale
        await laboratory.clean()
        peaks: dict[str, list[float]] = {name: [] for name in OURS}
        async with open_steady(laboratory, self.load) as steady:
            await steady.warm(RATE)
            for _ in range(SLICES):
                await steady.press(0, scale.memory_slice)
                for name, seen in peaks.items():
                    seen.append(resident_mib(steady.stack.processes[name]))
            await steady.settled()
        done = await laboratory.number("select count(*) from tb_task")
        return [
            Result(
                20,
                f"{name} 的常驻内存：做了 {done:,.0f} 个任务，全程最高 ÷ 头十分之一",
                max(seen) / seen[0],
                (min(seen) / seen[0], max(seen) / seen[0]),
                f"{max(seen):.0f} ÷ {seen[0]:.0f} MiB",
                at_most(1.10, 1.03),
            )
            for name, seen in peaks.items()
        ]
