"""第 5、6 行：转交。"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from kaguan.config.model import Relay
from kaguan.dev.postgres import DATABASE
from tests.bench.comparison import Result, Target, alternate, ratio
from tests.bench.laboratory import Laboratory
from tests.bench.processes import output_of
from tests.bench.relay_probe import WARM_BATCHES

SMALL, LARGE = "bench_small", "bench_large"
SMALL_BACKLOG = 1_000
PROBE_TIMEOUT = 330.0  # 秒：比量的时间多出这么久还没完，就不等了
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
            await self.laboratory.filled(rows + WARM_ROWS)
            return await self._probe("forward", rows)

        async def bare() -> float:
            await self.laboratory.flush_redis()
            return await self._probe("bare", rows)

        figures = await alternate(self.laboratory.scale.rounds, ours, bare)
        what = "relay 每秒行数 ÷ 裸 Redis 流水线（SAQ 的入队脚本，Job 事先造好，同样的批）"
        return [ratio(5, what, *figures, ROWS_PER_SECOND, Target(0.5, 0.8))]

    async def large_backlog(self) -> list[Result]:
        scale = self.laboratory.scale
        rows = min(scale.relay_rows, 6_000)
        for database in (SMALL, LARGE):
            await self.laboratory.create_database(database)
        await self.laboratory.filled(scale.backlog, database=LARGE)

        async def large() -> float:
            await self.laboratory.flush_redis()
            rate = await self._probe("forward", rows, database=LARGE)
            await self.laboratory.filled(rows + WARM_ROWS, database=LARGE)
            return rate

        async def small() -> float:
            await self.laboratory.flush_redis()
            return await self._probe("forward", rows, "--refill", str(SMALL_BACKLOG), database=SMALL)

        figures = await alternate(scale.rounds, large, small)
        what = f"relay 每秒行数：积压 {scale.backlog:,} 行 ÷ 积压 {SMALL_BACKLOG:,} 行"
        return [ratio(6, what, *figures, ROWS_PER_SECOND, Target(0.8, 0.95))]

    async def drift(self) -> list[Result]:
        """一直有新的来、旧的走：死掉的行与索引项攒着，取件慢不慢下来。"""
        seconds = self.laboratory.scale.drift_seconds
        await self.laboratory.clean()
        rates = orjson.loads(await self._ask("drift", "--seconds", str(seconds), patience=seconds + PROBE_TIMEOUT))
        what = f"持续转交 {seconds:g} 秒，每秒行数：最后一段 ÷ 头一段"
        kept = [rate / rates[0] for rate in rates]
        measured = f"{rates[0]:,.0f} → {rates[-1]:,.0f} {ROWS_PER_SECOND}"
        return [Result(21, what, kept[-1], (min(kept), max(kept)), measured, Target(0.8, 0.95))]

    async def _probe(self, mode: str, rows: int, *arguments: str, database: str = DATABASE) -> float:
        return float(await self._ask(mode, "--rows", str(rows), *arguments, database=database))

    async def _ask(self, *arguments: str, database: str = DATABASE, patience: float = PROBE_TIMEOUT) -> bytes:
        # 没有 worker，也一直交
        wide = dict.fromkeys(("KAGUAN_RELAY__HIGH_WATER", "KAGUAN_RELAY__WINDOW"), NO_HIGH_WATER)
        environment = self.laboratory.environment(database, **wide)
        program = self.laboratory.module("relay-probe", "tests.bench.relay_probe", *arguments, environment=environment)
        return await output_of(program, self.laboratory.directory, patience)
