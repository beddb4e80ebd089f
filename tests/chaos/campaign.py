"""一次战役：负载与故障 → 恢复 → 排空 → 取证 → 裁判。"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.catalogue import CATALOGUE
from tests.chaos.checker import judge
from tests.chaos.evidence import Evidence, collect
from tests.chaos.faults import Planned, Striker, schedule
from tests.chaos.history_rules import can_judge, examine, judge_histories
from tests.chaos.journal import Entry, entries
from tests.chaos.load import Load
from tests.chaos.meter import Meter, depth_bounds, metered
from tests.chaos.openness import keeps_order, silent
from tests.chaos.recording import delivered
from tests.chaos.recovery import Recovery, recoveries
from tests.chaos.rewinding import relived
from tests.chaos.servers import Servers
from tests.chaos.stage import Cast, Stage, staged
from tests.chaos.story import stories
from tests.chaos.verdict import Verdict
from tests.chaos.watch import Watch
from tests.model.history import Rules
from tests.support.alongside import alongside
from tests.support.eventually import PATIENCE

TICK = 0.05  # 秒
LOAD_GRACE = PATIENCE  # 秒，至少；长的再宽一成
GRACE_SHARE = 0.1
LONG = 50_000  # 个任务：这么长的才看得出内存涨没涨
# 走只含这些行的索引：十万行的表上也不扫全表
OPEN = "select (select count(*) from tb_task where status in ('pending', 'retrying'))"
# 任务做完了，交出它的事务也许还没提交；真留下的，``stalled`` 秒之后由裁判说话
LEFT_OVER = f"{OPEN} + (select count(*) from tb_outbox where parked_at is null)"
DRAIN_POLL = 0.5  # 秒


@dataclass(frozen=True, slots=True)
class Plan:
    """``rate`` 个/秒；``stalled`` 秒之内一个也没有了结，就不再等（单位秒）。"""

    name: str
    tasks: int
    faults: int
    seed: int
    rate: float = 60.0
    stalled: float = 70.0  # 比连丢租约之后最长的退避（32 秒）还久
    kinds: tuple[str, ...] = tuple(CATALOGUE)
    cast: Cast = field(default_factory=Cast)


@dataclass(slots=True)
class Report:
    plan: Plan
    verdict: Verdict
    recoveries: list[Recovery]
    events: dict[str, int]
    fault_seconds: float
    drain_seconds: float
    stories: dict[str, list[str]] = field(default_factory=dict)


def silently(_line: str) -> None:
    """不报进度。"""


async def fight(
    servers: Servers, plan: Plan, logs: Path | None = None, say: Callable[[str], object] = silently
) -> Report:
    """``logs`` 是留下各进程日志的目录，不给就不留；``say`` 收进度。"""
    async with staged(servers, plan.name, plan.cast) as stage:
        journal = entries(plan.tasks, plan.seed, ordered=await keeps_order(stage))
        striker = Striker(stage, plan.seed)
        began = time.monotonic()
        load = Load(stage, journal, plan.rate, plan.seed)

        def describe() -> str:
            acked = sum(entry.acked for entry in journal)
            return f"提交 {load.started}，已受理 {acked}，故障 {len(striker.struck)}/{plan.faults}"

        meter = Meter(stage, lambda: load.started / plan.tasks)
        watch = Watch(stage, describe, say)
        async with alongside(watch.run(), "watch"), metered(meter):
            running = asyncio.create_task(load.run())
            planned = plan.tasks / plan.rate
            deadline = began + planned + max(LOAD_GRACE, planned * GRACE_SHARE)
            await _storm(load, running, striker, schedule(plan.faults, plan.seed, plan.kinds), deadline)
            await _finished(running, deadline)
            await striker.healed()
            healed = time.monotonic()
            unavailable = await silent(stage)
            await drain(stage, plan.stalled)
            drained = time.monotonic()
            if await load.person.reconsider(journal):
                await drain(stage, plan.stalled)
        evidence = await _gathered(stage, journal, unavailable)
        evidence.struck, evidence.planned = striker.struck, plan.faults
        if stage.index is not None:
            evidence.confirmed, evidence.denied = stage.index.confirmed, stage.index.denied
        evidence.policy, evidence.paced, evidence.long = plan.cast.policy, True, plan.tasks >= LONG
        evidence.promoted, evidence.tails = stage.promoted, stage.tails
        for heard in load.heard:
            if 0 < heard.status < 300 and not heard.repeated:
                evidence.signs[f"api-{stage.api_ports.index(heard.port)}"].append(heard.at)
        evidence.asked_until = max((heard.at for heard in load.heard), default=0.0)
        evidence.readings, evidence.depth_limit = meter.readings, sum(depth_bounds(plan.cast))
        verdict = judge(evidence)
        if can_judge():
            rules = Rules(
                resend=plan.cast.policy == "resend" or plan.cast.verify,
                verify=plan.cast.verify,
                forgets=bool(stage.cuts),
            )
            whole, gone = (delivered(some, evidence.mails) for some in relived(evidence.histories, stage.cuts))
            opinion = await asyncio.to_thread(examine, whole, rules, gone)
            judge_histories(verdict, opinion)
        told = await stories(stage, verdict, evidence)
        if logs is not None:
            shutil.copytree(
                stage.directory, logs / plan.name, ignore=shutil.ignore_patterns("mail"), dirs_exist_ok=True
            )
    found = recoveries(striker.struck, evidence.tasks, watch.samples, evidence.redrives)
    return Report(plan, verdict, found, dict(evidence.events), healed - began, drained - healed, told)


async def _gathered(stage: Stage, journal: list[Entry], unavailable: list[str]) -> Evidence:
    """取证，然后停下全部进程：怎么停的也是证据。"""
    evidence = await collect(stage, journal)
    evidence.unavailable = unavailable
    evidence.stuck = await stage.fleet.stop()
    evidence.crashes = stage.fleet.crashes()
    return evidence


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


async def drain(stage: Stage, stalled: float) -> None:
    """等到没有未了结的；``stalled`` 秒没有进展就放手，由裁判说话。"""
    fewest, progressed = 0, time.monotonic()
    async with stage.postgres() as connection:
        while True:
            row = await (await connection.execute(LEFT_OVER.encode())).fetchone()
            left = 0 if row is None else int(str(row[0]))
            if left == 0:
                return
            if left != fewest:
                fewest, progressed = left, time.monotonic()
            if time.monotonic() - progressed > stalled:
                return
            await asyncio.sleep(DRAIN_POLL)
