"""一次战役：负载与故障 → 恢复 → 排空 → 取证 → 裁判。"""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.chaos.checker import Verdict, judge
from tests.chaos.evidence import collect
from tests.chaos.faults import CATALOGUE, Striker, Struck, schedule
from tests.chaos.load import Load, entries, silent
from tests.chaos.stage import Cast, staged

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.faults import Planned
    from tests.chaos.servers import Servers
    from tests.chaos.stage import Stage

TICK = 0.05  # 秒
LOAD_GRACE = 120.0  # 秒
OPEN = "select count(*) from tb_task where status not in ('succeeded', 'failed', 'cancelled', 'uncertain')"
RECOVERED = """
    select extract(epoch from max(finished_at))::float8 - %(at)s from tb_task
    where created_at <= to_timestamp(%(at)s) and finished_at > to_timestamp(%(at)s)
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """``rate`` 个/秒；``stalled`` 秒之内一个也没有了结，就不再等（单位秒）。"""

    name: str
    tasks: int
    faults: int
    seed: int
    rate: float = 60.0
    stalled: float = 30.0
    kinds: tuple[str, ...] = tuple(CATALOGUE)
    cast: Cast = field(default_factory=Cast)


@dataclass(slots=True)
class Report:
    plan: Plan
    verdict: Verdict
    struck: list[Struck]
    events: dict[str, int]
    recovery: dict[str, list[float]]  # 故障种类 → 各次：故障时在手的任务全部了结用了几秒
    fault_seconds: float
    drain_seconds: float


async def fight(servers: Servers, plan: Plan, logs: Path | None = None) -> Report:
    """``logs`` 是留下各进程日志的目录；不给就不留。"""
    journal = entries(plan.tasks, plan.seed)
    async with staged(servers, plan.name, plan.cast) as stage:
        striker = Striker(stage, plan.seed)
        began = time.monotonic()
        load = Load(stage, journal, plan.rate, plan.seed)
        running = asyncio.create_task(load.run())
        deadline = began + plan.tasks / plan.rate + LOAD_GRACE
        await _storm(load, running, striker, schedule(plan.faults, plan.seed, plan.kinds), deadline)
        await _finished(running, deadline)
        await striker.healed()
        healed = time.monotonic()
        unavailable = await silent(stage)
        await _drain(stage, plan.stalled)
        drained = time.monotonic()
        evidence = await collect(stage, journal)
        evidence.unavailable = unavailable
        evidence.stuck = await stage.fleet.stop()
        evidence.crashes = stage.fleet.crashes()
        recovery = await _recovery(stage, striker.struck)
        if logs is not None:
            shutil.copytree(
                stage.directory, logs / plan.name, ignore=shutil.ignore_patterns("mail"), dirs_exist_ok=True
            )
    return Report(
        plan, judge(evidence), striker.struck, dict(evidence.events), recovery, healed - began, drained - healed
    )


async def _storm(
    load: Load, running: asyncio.Task[None], striker: Striker, planned: list[Planned], deadline: float
) -> None:
    """进度到了就下手：同一个种子，同一串故障落在同样的进度上。"""
    for number, item in enumerate(planned):
        while load.started < item.at * len(load.journal) and not running.done():
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(TICK)
        striker.strike(number, item.kind)


async def _finished(running: asyncio.Task[None], deadline: float) -> None:
    """负载最多比预期多跑 ``LOAD_GRACE`` 秒：余下的客户端放手，记为不明，由裁判说话。"""
    done, _ = await asyncio.wait({running}, timeout=max(0.0, deadline - time.monotonic()))
    if done:
        await running
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def _drain(stage: Stage, stalled: float) -> None:
    """等到没有未了结的；``stalled`` 秒没有进展就放手，由裁判说话。"""
    fewest, progressed = 0, time.monotonic()
    async with stage.postgres() as connection:
        while True:
            row = await (await connection.execute(OPEN.encode())).fetchone()
            left = 0 if row is None else int(str(row[0]))
            if left == 0:
                return
            if left != fewest:
                fewest, progressed = left, time.monotonic()
            if time.monotonic() - progressed > stalled:
                return
            await asyncio.sleep(TICK * 2)


async def _recovery(stage: Stage, struck: list[Struck]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    async with stage.postgres() as connection:
        for strike in struck:
            row = await (await connection.execute(RECOVERED.encode(), {"at": strike.at})).fetchone()
            seconds = 0.0 if row is None or row[0] is None else float(str(row[0]))
            found.setdefault(strike.kind, []).append(seconds)
    return found
