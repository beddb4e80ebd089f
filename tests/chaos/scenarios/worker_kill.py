"""SIGKILL 一个正忙的 worker：它手里的任务多久之后又开始。"""

from __future__ import annotations

import signal

from tests.chaos.fleet import Unit
from tests.chaos.journal import Entry
from tests.chaos.scenarios import bulk
from tests.chaos.scenarios.outcome import Outcome
from tests.chaos.servers import Servers
from tests.chaos.stage import Cast, Stage, staged
from tests.support.eventually import eventually

ROUNDS = 3
TASKS = 60  # 每轮
ENOUGH = 5  # 个任务在手，才值得杀
MARGIN = 2.0  # 秒：目标是租约加它
SLACK = 1.0  # 秒
STALLED = 60.0  # 秒
HELD = """
    select task_id::text from tb_work where worker like %(worker)s
"""
RESTARTED = """
    select max(extract(epoch from started_at)::float8 - %(at)s), count(*) filter (where delivery > 1)
    from tb_task where id::text = any(%(held)s) and delivery > 1
"""
NOW = "select extract(epoch from clock_timestamp())::float8"


async def worker_kill(servers: Servers, lease: float, rounds: int = ROUNDS) -> Outcome:
    """``lease`` 秒的租约，每轮杀一个手里至少有 ``ENOUGH`` 个任务的。"""
    outcome = Outcome(f"worker-kill（租约 {lease:g} 秒，{rounds} 轮）")
    pace = {**bulk.PRODUCT_PACE, "KAGUAN_WORKER__LEASE": str(lease), "KAGUAN_WORKER__CONCURRENCY": "30"}
    slow = max(lease / 3, 1.0)
    worst: list[float] = []
    journal: list[Entry] = []
    async with staged(servers, "worker_kill", Cast(apis=1, ledger=str(slow), pace=pace)) as stage:
        for number in range(rounds):
            journal += await bulk.submit(stage, TASKS, first=number * TASKS)
            victim, held, at = await _kill(stage, number)
            await bulk.settled(stage, STALLED + lease)
            async with stage.postgres() as connection:
                row = await (await connection.execute(RESTARTED, {"held": held, "at": at})).fetchone()
            if row is None or row[0] is None:
                outcome.missed.append(f"第 {number + 1} 轮：{victim.name} 手里的 {len(held)} 个没有重来")
                continue
            worst.append(float(str(row[0])))
            outcome.figures[f"第 {number + 1} 轮"] = (
                f"{victim.name} 手里 {len(held)} 个，重来 {row[1]} 个，最晚的 {worst[-1]:.2f} 秒之后开始"
            )
        outcome.within("最晚的又开始", max(worst, default=None), lease + MARGIN, SLACK, "秒")
        outcome.judged(*await bulk.verdict(stage, journal))
    return outcome


async def _kill(stage: Stage, number: int) -> tuple[Unit, list[str], float | None]:
    """等一个忙起来（先看轮到的那个），杀掉；返回它、它手里的任务号、那一刻（PostgreSQL 的钟）。"""
    units = stage.fleet.units["worker"]
    turn = number % len(units)

    async def held_by(pid: int | None) -> list[str]:
        async with stage.postgres() as connection:
            cursor = await connection.execute(HELD, {"worker": f"%-{pid}-%"})
            return [str(row[0]) for row in await cursor.fetchall()]

    async def busy() -> Unit | None:
        for unit in units[turn:] + units[:turn]:
            if len(await held_by(unit.pid)) >= ENOUGH:
                return unit
        return None

    victim = await eventually(busy)
    assert victim is not None
    pid = victim.pid
    victim.send(signal.SIGKILL)
    at = await bulk.scalar(stage, NOW)
    return victim, await held_by(pid), at  # 死后再看：刚好结算完的不算
