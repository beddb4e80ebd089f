"""第 9、29 行：同步。data:sync 每秒写多少行、sim:status_sync 每秒问多少张卡，各与照文档写的循环比；也看内存平不平。"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import orjson
import psycopg

from kaguan.dev.simulator import iccid_at
from kaguan.flow.probes import LOOPBACK, is_listening
from kaguan.outbox.accept.acceptance import Submission, accept_many
from kaguan.outbox.vocabulary import Priority
from kaguan.sims.tasks import SIM_STATUS_SYNC, SimStatusPayload
from tests.bench.backlog import UNSETTLED
from tests.bench.comparison import MeasureError, Result, Target, alternate, ratio
from tests.bench.laboratory import Laboratory
from tests.bench.processes import output_of, running
from tests.bench.processing import SPAN
from tests.bench.stack import REAL, open_stack
from tests.bench.usage_source import CARRIER, PAGE, stock
from tests.support.places import own_port

USAGE_ROW, CARDS_ROW = 9, 29
CARDS = 100_000
SIMULATOR = "kaguan.dev.simulator"
LANES = "16"  # 同时在途几个
MAX_ATTEMPTS = 6
LOOK = 0.2  # 秒
ANSWERED = "select count(*) from tb_sim where status_synced_at > (select min(created_at) from tb_task)"
PROBE_TIMEOUT = 930.0  # 秒


@dataclass(frozen=True, slots=True)
class Synchronising:
    laboratory: Laboratory

    async def statuses(self) -> list[Result]:
        """一个 worker，限额放开，循环也是同样多个在途；先由循环跑一遍，两边因此都没有变了的状态要记。"""
        laboratory = self.laboratory
        cards, port = 2 * laboratory.scale.tasks, own_port()
        url = f"http://{LOOPBACK}:{port}"
        lifted = {"BASE_URL": url, "PASSWORD": "bench", "PER_SECOND": "100000", "CONCURRENCY": LANES, "TASKS": LANES}
        settings = {f"KAGUAN_CARRIERS__ONELINK__{name}": value for name, value in lifted.items()}
        environment = laboratory.environment() | settings
        served = laboratory.module("simulator", SIMULATOR, "--port", str(port), environment=environment)
        asked = (url, str(cards), LANES)
        loop = laboratory.module("card-loop", "tests.bench.card_loop", *asked, environment=environment)

        async def plain() -> float:
            return float(orjson.loads(await output_of(loop, laboratory.directory, PROBE_TIMEOUT))["rate"])

        async def ours() -> float:
            await laboratory.clean()
            async with await psycopg.AsyncConnection.connect(laboratory.database_url(), autocommit=True) as connection:
                iccids = [iccid_at(CARRIER, index) for index in range(cards)]
                payloads = [
                    SimStatusPayload(iccids=tuple(iccids[start : start + PAGE]), force_sync=True)
                    for start in range(0, cards, PAGE)
                ]
                submissions = [
                    Submission(SIM_STATUS_SYNC, one, Priority.DEFAULT, principal="bench") for one in payloads
                ]
                await accept_many(connection, submissions, MAX_ATTEMPTS)
            async with open_stack(laboratory, REAL, settings=settings):
                await laboratory.until_none(UNSETTLED, PROBE_TIMEOUT, LOOK)
            answered = await laboratory.number(ANSWERED)
            if answered != cards:
                raise MeasureError(f"{cards} 张只问到 {answered:.0f} 张")
            return cards / await laboratory.number(SPAN)

        await self._stock(cards)
        async with running(replace(served, ready=partial(is_listening, port)), laboratory.directory):
            await plain()
            figures = await alternate(min(laboratory.scale.rounds, 3), ours, plain)
        what = f"sim:status_sync {cards:,} 张卡，限额放开，一个 worker ÷ 照文档写的循环，同一个模拟器"
        return [ratio(CARDS_ROW, what, *figures, "张/秒", Target(0.8, 1.0))]

    async def _stock(self, cards: int) -> None:
        async with await psycopg.AsyncConnection.connect(self.laboratory.database_url(), autocommit=True) as connection:
            await connection.execute("truncate tb_sim")
            await stock(connection, cards)
            await connection.execute("analyze tb_sim")

    async def usage(self) -> list[Result]:
        """十万张卡，够凑成 ``usage_rows`` 行的那么多天；每轮一个新进程、一张空表。"""
        rows = self.laboratory.scale.usage_rows
        cards = min(CARDS, rows)
        days = rows // cards
        await self._stock(cards)
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
            USAGE_ROW,
            f"同上，worker 常驻内存：全程最高 ÷ 前十分之一最高（{max(peaks):.0f} MiB）",
            max(growth),
            (min(growth), max(growth)),
            f"{len(growth)} 轮里最坏的一轮",
            Target(1.10, 1.03, higher_is_better=False),
        )
        return [ratio(USAGE_ROW, what, *figures, "行/秒", Target(1.0, 1.5)), flat]

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
