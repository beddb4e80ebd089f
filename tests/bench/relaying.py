"""第 5、6 行：转交。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from kaguan.config.model import Relay
from kaguan.dev.postgres import DATABASE
from tests.bench.backlog import fill
from tests.bench.comparison import Result, Target, alternate, ratio
from tests.bench.processes import output_of
from tests.bench.relay_probe import WARM_BATCHES

if TYPE_CHECKING:
    from tests.bench.laboratory import Laboratory

SMALL, LARGE = "bench_small", "bench_large"
SMALL_BACKLOG = 1_000
PROBE_TIMEOUT = 330.0  # 秒
NO_HIGH_WATER = "100000000"  # 量的是转交本身：没有 worker 在取，不该停在高水位
ROWS_PER_SECOND = "行/秒"
WARM_ROWS = WARM_BATCHES * Relay().batch_size


@dataclass(frozen=True, slots=True)
class Relaying:
    """转交类的测量；每次都是一个新进程，Redis 先清空。"""

    laboratory: Laboratory

    async def against_pipeline(self) -> list[Result]:
        rows = self.laboratory.scale.relay_rows

        async def ours() -> float:
            await self.laboratory.clean()
            await self._fill(DATABASE, rows + WARM_ROWS)
            return await self._probe("forward", rows)

        async def bare() -> float:
            await self.laboratory.flush_redis()
            return await self._probe("bare", rows)

        figures = await alternate(self.laboratory.scale.rounds, ours, bare)
        what = "relay 每秒行数 ÷ 裸 Redis 流水线（SAQ 的入队脚本，Job 事先造好，同样的批）"
        return [ratio(5, what, *figures, ROWS_PER_SECOND, Target(0.35, 0.60))]

    async def large_backlog(self) -> list[Result]:
        scale = self.laboratory.scale
        rows = min(scale.relay_rows, 6_000)
        for database in (SMALL, LARGE):
            await self.laboratory.create_database(database)
        await self._fill(LARGE, scale.backlog)

        async def large() -> float:
            await self.laboratory.flush_redis()
            rate = await self._probe("forward", rows, database=LARGE)
            await self._fill(LARGE, rows + WARM_ROWS)
            return rate

        async def small() -> float:
            await self.laboratory.flush_redis()
            return await self._probe("forward", rows, "--refill", str(SMALL_BACKLOG), database=SMALL)

        figures = await alternate(scale.rounds, large, small)
        what = f"relay 每秒行数：积压 {scale.backlog:,} 行 ÷ 积压 {SMALL_BACKLOG:,} 行"
        return [ratio(6, what, *figures, ROWS_PER_SECOND, Target(0.8, 0.95))]

    async def _fill(self, database: str, rows: int) -> None:
        """备积压并更新统计：自动清理迟早会做，这里不等它。"""
        url = self.laboratory.database_url(database)
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await fill(connection, rows)
            await connection.execute("analyze tb_task, tb_outbox")
        await self.laboratory.checkpoint()

    async def _probe(self, mode: str, rows: int, *arguments: str, database: str = DATABASE) -> float:
        environment = self.laboratory.environment(database, KAGUAN_RELAY__HIGH_WATER=NO_HIGH_WATER)
        program = self.laboratory.module(
            "relay-probe", "tests.bench.relay_probe", mode, "--rows", str(rows), *arguments, environment=environment
        )
        return float(await output_of(program, self.laboratory.directory, PROBE_TIMEOUT))
