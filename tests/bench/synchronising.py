"""用量同步的一行：data:sync 每秒写多少行，与照文档写的 psycopg 循环比；并看 worker 的内存平不平。"""

from __future__ import annotations

from dataclasses import dataclass

import orjson
import psycopg

from tests.bench.comparison import MeasureError, Result, Target, alternate, ratio
from tests.bench.laboratory import Laboratory
from tests.bench.processes import output_of
from tests.bench.usage_source import PAGE, stock

CARDS = 100_000
PROBE_TIMEOUT = 930.0  # 秒


@dataclass(frozen=True, slots=True)
class Synchronising:
    """十万张卡，够凑成 ``usage_rows`` 行的那么多天；每轮一个新进程、一张空表。``row`` 是表里的序号。"""

    laboratory: Laboratory
    row: int

    async def usage(self) -> list[Result]:
        rows = self.laboratory.scale.usage_rows
        cards = min(CARDS, rows)
        days = rows // cards
        async with await psycopg.AsyncConnection.connect(self.laboratory.database_url(), autocommit=True) as connection:
            await connection.execute("truncate tb_sim")
            await stock(connection, cards)
            await connection.execute("analyze tb_sim")
        growth: list[float] = []
        peaks: list[float] = []

        async def ours() -> float:
            found = await self._probe("sync", cards, days)
            growth.append(found["peak"] / found["early"])
            peaks.append(found["peak"])
            return found["rate"]

        async def plain() -> float:
            return (await self._probe("loop", cards, days))["rate"]

        figures = await alternate(min(self.laboratory.scale.rounds, 3), ours, plain)
        what = (
            f"data:sync 用量 {rows:,} 行（处理器独占一个进程，每页 {PAGE:,} 张，检查点、令牌、计数俱全）"
            "÷ psycopg 的 executemany 循环，同一来源"
        )
        flat = Result(
            self.row,
            f"同上，worker 常驻内存：全程最高 ÷ 前十分之一最高（{max(peaks):.0f} MiB）",
            max(growth),
            (min(growth), max(growth)),
            f"{len(growth)} 轮里最坏的一轮",
            Target(1.10, 1.03, higher_is_better=False),
        )
        return [ratio(self.row, what, *figures, "行/秒", Target(1.0, 1.5)), flat]

    async def _probe(self, mode: str, cards: int, days: int) -> dict[str, float]:
        tables = "tb_sim_usage, tb_task, tb_work, tb_outbox, tb_task_event, tb_sync_checkpoint"
        await self.laboratory.execute(f"truncate {tables}")
        await self.laboratory.checkpoint()
        program = self.laboratory.module(
            "usage-probe",
            "tests.bench.usage_probe",
            mode,
            "--cards",
            str(cards),
            "--days",
            str(days),
            environment=self.laboratory.environment(),
        )
        found: dict[str, float] = orjson.loads(await output_of(program, self.laboratory.directory, PROBE_TIMEOUT))
        stored = await self.laboratory.number("select count(*) from tb_sim_usage")
        if stored != cards * days:
            raise MeasureError(f"{mode}：应有 {cards * days} 行，实有 {stored:.0f} 行")
        return found
