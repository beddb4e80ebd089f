"""第 17 行：长事务钉住清理的界限。一样的稳态，一边没有读者，一边有几个首尾相叠的长读者；死行清不掉，快慢该照旧。"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from statistics import median

import psycopg
from psycopg import sql

from kaguan.dev.postgres import DATABASE
from tests.bench.comparison import Result, Target, at_most, ratio
from tests.bench.laboratory import Laboratory
from tests.bench.load import Load
from tests.bench.plots import Line, Plot, Words
from tests.bench.steady import WAITED, open_steady
from tests.support.alongside import alongside

RATE = 800
READERS = 3
FREE = 600  # 秒；没有读者的至多这么久
SLICES = 5  # 逐段比，看越往后差不差
VACUUMS = 24  # 一个读者读完的时间里，自动清理来这么多次（默认一分钟一次，读者两分钟）
WITHOUT, WITH = ("没有长事务", "no readers"), ("首尾相叠的长事务", "overlapping long readers")
DEAD = "select coalesce(sum(n_dead_tup), 0) from pg_stat_user_tables"
SECOND_BY_SECOND = (
    "with arrived as (select *, min(created_at) over () as first from tb_task where created_at > %s)"
    " select n, (select count(*) from arrived where floor(extract(epoch from finished_at - first)) = n),"
    f" (select percentile_cont(0.95) within group (order by {WAITED}) from arrived"
    " where floor(extract(epoch from created_at - first)) = n)"
    " from generate_series(0, %s) as n order by n"
)


@dataclass(frozen=True, slots=True)
class Course:
    """逐秒：死行数，做完几个，这一秒到达的 P95（毫秒）。"""

    dead: list[float]
    finished: list[float]
    p95: list[float]


@dataclass(frozen=True, slots=True)
class Horizon:
    """``courses`` 攒着两边的经过，给图用。"""

    laboratory: Laboratory
    load: Load
    courses: dict[Words, Course] = field(default_factory=dict)

    async def pinned(self) -> list[Result]:
        scale = self.laboratory.scale
        nap, seconds = max(1, round(scale.reader_seconds / VACUUMS)), round(scale.pinned_seconds)
        await self._vacuum_every(nap)
        try:
            # 没有读者的不会越来越差，一个小时的不必也陪一个小时；行少反而是让着它
            self.courses[WITHOUT] = await self._run(0, min(seconds, FREE))
            self.courses[WITH] = await self._run(READERS, seconds)
        finally:
            await self._vacuum_every(None)
        free, pinned = self.courses[WITHOUT], self.courses[WITH]
        what = (
            f"{RATE}/s 稳态 {seconds} 秒，旁边 {READERS} 个首尾相叠的 {scale.reader_seconds:.3g} 秒长事务 ÷ 没有"
            f"（自动清理 {nap} 秒一次）："
        )
        most = f"；死行最多 {max(pinned.dead):,.0f} ÷ {max(free.dead):,.0f}"
        return [
            _compared(f"{what}吞吐", pinned.finished, free.finished, f"任务/秒{most}", Target(0.95, 1.0)),
            _compared(f"{what}受理 → 开始 P95", pinned.p95, free.p95, f"ms{most}", at_most(1.5, 1.1)),
        ]

    def plots(self) -> list[Plot]:
        if not self.courses:
            return []
        finished = [
            Line((f"做完，{chinese}", f"done, {english}"), list(enumerate(course.finished)))
            for (chinese, english), course in self.courses.items()
        ]
        dead = [
            Line((f"死行，{chinese}", f"dead rows, {english}"), list(enumerate(course.dead)), right=True)
            for (chinese, english), course in self.courses.items()
        ]
        title, rows = (f"{RATE}/s 稳态", f"steady {RATE}/s"), ("死行", "dead rows")
        return [Plot("pinned-horizon", title, ("秒", "s"), ("每秒做完", "done/s"), [*finished, *dead], rows)]

    async def _run(self, readers: int, seconds: int) -> Course:
        laboratory = self.laboratory
        await laboratory.clean()
        dead: list[float] = []
        async with open_steady(laboratory, self.load) as steady:
            await steady.warm(RATE)
            ((since,),) = await laboratory.administer("select clock_timestamp()")
            async with AsyncExitStack() as stack:
                for number in range(readers):
                    await stack.enter_async_context(alongside(self._read(number), f"reader-{number}"))
                await stack.enter_async_context(alongside(self._watch(dead), "watch"))
                await steady.press(RATE, seconds)
            await steady.settled()
        rows = await laboratory.execute(SECOND_BY_SECOND, (since, seconds - 1))
        return Course(dead, [float(count) for _, count, _ in rows], [float(p95) for _, _, p95 in rows])

    async def _read(self, number: int) -> None:
        """一个接一个的报表：拿住快照不放。各个错开，任何时刻都有人拿着。"""
        length = self.laboratory.scale.reader_seconds
        await asyncio.sleep(length * number / READERS)
        async with await psycopg.AsyncConnection.connect(self.laboratory.database_url()) as connection:
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            while True:
                async with connection.transaction():
                    await connection.execute("select count(*) from tb_task")
                    await asyncio.sleep(length)

    async def _watch(self, dead: list[float]) -> None:
        url = self.laboratory.postgres.admin_url_of(DATABASE)
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            while True:
                await asyncio.sleep(1)
                cursor = await connection.execute(DEAD)
                dead.extend(float(count) for (count,) in await cursor.fetchall())

    async def _vacuum_every(self, nap: int | None) -> None:
        """几秒清理一次；None 恢复默认。"""
        value = sql.SQL("default") if nap is None else sql.Literal(f"{nap}s")
        await self.laboratory.administer(sql.SQL("alter system set autovacuum_naptime = {}").format(value))
        await self.laboratory.administer("select pg_reload_conf()")


def _compared(what: str, pinned: list[float], free: list[float], unit: str, target: Target) -> Result:
    return ratio(17, what, _slices(pinned), _slices(free), unit, target)


def _slices(seconds: list[float]) -> list[float]:
    """分成几段，各取中位数。"""
    size = max(1, len(seconds) // SLICES)
    return [median(seconds[start : start + size]) for start in range(0, size * SLICES, size) if seconds[start:]]
