"""``make prove P=upgrade``：上一版与这一版并存——边升级边退回，负载不停，独立的裁判判。

两边都是 wheel，装在检出之外各自的环境里。先全旧在旧库上，再当着它迁移；worker、relay、API 依次换成新的，
再照手册的次序退回来（API、worker、relay），新旧 worker 并排时 PostgreSQL 重启一次，把库也退回去；
最后再升一遍，照手册 relay 在先。弄坏的新版、弄反的次序也各走几步，须判不合格。还没有下一版时，上一版就是定下的这一版。
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import typer

from tests.chaos.campaign import drain
from tests.chaos.checker import judge
from tests.chaos.evidence import collect
from tests.chaos.journal import Entry, Kind, entries
from tests.chaos.load import Load
from tests.chaos.report import fill
from tests.chaos.servers import running_servers
from tests.chaos.stage import Cast, Stage, staged
from tests.chaos.story import stories
from tests.chaos.verdict import Verdict
from tests.deploy import previous
from tests.deploy.broken import CONTROLS, Broken
from tests.deploy.releases import kaguan, previous_release, this_release
from tests.deploy.rolling import API, RELAY, WORKER, Roll
from tests.deploy.upgrade_report import Report, control_table, document, rows_of, told
from tests.support.alongside import alongside
from tests.support.eventually import PATIENT
from tests.support.places import temporary_place

MOST = 100_000  # 个：不到负载自己停下
LATER = (5.0, 40.0)  # 秒：有的定在几段之后
LATER_EVERY = 40
ACCEPTED = {HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED}
AWAY = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}  # 只在 PostgreSQL 重启的那一段
HEAD = "select version_num from alembic_version"


@dataclass(frozen=True, slots=True)
class Scale:
    """一趟多大。

    Attributes:
        rate: 个/秒。
        quota: 每一段至少提交几个。
        beside: 新旧并排着，至少提交几个。
        whole: 逐种换，每种之间停一段，库也退回；两个环境的依赖都照各自锁定的清单新装。
        stalled: 秒；没有进展这么久就不等了。
        longest: 秒；一再重投、总有动静的，也至多等这么久。
    """

    rate: float
    quota: int
    beside: int
    cast: Cast
    whole: bool = False
    stalled: float = 70.0
    longest: float = 600.0


# 没有故障可解释不明：停顿几秒的，租约也续得上
ONE_EACH = Cast(apis=1, relays=1, workers=1, pace={**PATIENT, "KAGUAN_WORKER__LEASE": "15"})
LONG = Scale(30.0, 200, 30, Cast(relays=2, workers=3), whole=True)
SHORT = Scale(4.0, 8, 2, ONE_EACH)
CONTROL = Scale(4.0, 8, 2, ONE_EACH, stalled=10.0, longest=20.0)


async def upgrade(scale: Scale, seed: int, broken: Broken | None = None) -> Report:
    """走一遍；``broken`` 在新版的位置上，只走它的那几步。

    Raises:
        AbsentError: 没有上一版的提交。
    """
    with temporary_place("releases") as directory:
        old = previous_release(directory / "old", alone=scale.whole)
        new = this_release(directory / "new", broken.damage if broken else None, alone=scale.whole)
        async with (
            running_servers(lambda url: kaguan(old, url, "migrate", "up")) as servers,
            staged(servers, "upgrade", replace(scale.cast, release=old)) as stage,
        ):
            load = Load(stage, _journal(seed, later=scale.whole), scale.rate, seed)
            roll = Roll(stage, load, old, new, scale.quota, scale.beside)
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(alongside(roll.read(), "reader"))
                await stack.enter_async_context(alongside(roll.watch(), "watch"))
                running = asyncio.create_task(load.run(), name="load")
                try:
                    if broken:
                        await broken.script(roll)
                    else:
                        await (_whole if scale.whole else _brief)(roll)
                finally:
                    load.enough = True
                    await running
                await _drained(stage, scale)
            if await load.person.reconsider(load.journal):
                await _drained(stage, scale)
            evidence = await collect(stage, [entry for entry in load.journal if entry.tries])
            evidence.struck, evidence.planned = roll.struck, len(roll.struck)
            evidence.stuck = roll.complaints + await stage.fleet.stop()
            evidence.crashes = stage.fleet.crashes()
            verdict = judge(evidence)
            _judge_answers(verdict, roll)
            verdict.rule("进程日志里的意外", _errors(roll))
            rows = rows_of(roll, evidence)
            alone = [row.phase.name for row in rows if row.phase.mixed and not all(row.workers)]
            verdict.rule("新旧没有并存", alone)
            happened = await stories(stage, verdict, evidence)
        return Report(verdict, rows, roll.migrations, previous.differing(), happened)


async def _drained(stage: Stage, scale: Scale) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(scale.longest):
            await drain(stage, scale.stalled)


def _journal(seed: int, *, later: bool) -> list[Entry]:
    """有序键、定时、批量、改主意的都有；一半的新用户连着下一张订单。"""
    source = random.Random(f"upgrade-{seed}")
    journal = entries(MOST, seed, ordered=True)
    for number, entry in enumerate(journal):
        if entry.kind is Kind.USER:
            entry.buys = source.random() < 1 / 2
        elif later and number % LATER_EVERY == 0 and not entry.chain:
            entry.delay = source.uniform(*LATER)
    return journal


async def _whole(roll: Roll) -> None:
    async with roll.phase("全旧，旧库"):
        before = await _head(roll)
    async with roll.phase("全旧，当面迁移"):
        await roll.migrate("up")
    for kind, kill in ((WORKER, True), (RELAY, False), (API, False)):
        async with roll.phase(f"换新 {kind}", mixed=kind == WORKER):
            await roll.replace(kind, roll.new_release, kill=kill)
    async with roll.phase("全新"):
        pass
    for kind in (API, WORKER, RELAY):
        async with roll.phase(f"退回 {kind}", mixed=kind == WORKER):
            await roll.replace(kind, roll.old_release, amid=roll.restart_postgres if kind == WORKER else None)
    async with roll.phase("全旧，新库"):
        pass
    async with roll.phase("全旧，当面退库"):
        await roll.migrate("down", before)
    async with roll.phase("全旧，退回的库"):
        pass
    async with roll.phase("再迁移"):
        await roll.migrate("up")
    for kind in (RELAY, WORKER, API):  # 手册的次序：新 relay 交给旧 worker
        async with roll.phase(f"再换新 {kind}", mixed=kind == WORKER):
            await roll.replace(kind, roll.new_release, kill=kind == RELAY)


async def _brief(roll: Roll) -> None:
    async with roll.phase("全旧，当面迁移"):
        await roll.migrate("up")
    async with roll.phase("换新", mixed=True):
        await roll.replace(RELAY, roll.new_release)
        await roll.replace(WORKER, roll.new_release)
        await roll.replace(API, roll.new_release)
    async with roll.phase("退回，新库", mixed=True):
        await roll.replace(API, roll.old_release)
        await roll.replace(WORKER, roll.old_release)
        await roll.replace(RELAY, roll.old_release)


async def _head(roll: Roll) -> str:
    async with roll.stage.postgres() as connection:
        row = await (await connection.execute(HEAD)).fetchone()
    assert row is not None
    return str(row[0])


def _judge_answers(verdict: Verdict, roll: Roll) -> None:
    """答复都是受理或读到了，PostgreSQL 重启的那一段还许说它不在；没有答复的只能是正在换的那个 API。"""
    refused = [heard for heard in roll.load.heard if heard.status and heard.status not in ACCEPTED]
    excused = [heard for heard in refused if heard.status in AWAY and roll.in_outage(heard.at)]
    strange = [heard for heard in refused if heard not in excused]
    silent = [heard for heard in roll.load.heard if not heard.status]
    away = [heard for heard in silent if any(begin <= heard.at <= end for begin, end in roll.away.get(heard.port, []))]
    verdict.figures["HTTP 请求"] = len(roll.load.heard)
    verdict.figures["其中 503、504（PostgreSQL 在重启）"] = len(excused)
    verdict.figures["其中没有答复（正在换的 API）"] = len(away)
    verdict.rule("HTTP 答复在约定之外", [f"{heard.status} {heard.why}" for heard in strange])
    verdict.rule("没有在换的 API 没有答复", [f"{heard.port} {heard.why}" for heard in silent if heard not in away])


def _errors(roll: Roll) -> list[str]:
    """各进程日志里 error 级的行，不是 JSON 的行；PostgreSQL 重启的那一段不算。"""
    found = []
    for path in sorted(roll.stage.directory.glob("*.log")):
        for line in path.read_text("utf-8", "replace").splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                found.append(f"{path.stem}：{line[:200]}")
                continue
            if said.get("level") not in {"error", "critical"} or roll.in_outage(_stamped(said)):
                continue
            cause = " ".join(str(said.get("exception", "")).strip().splitlines()[-2:])  # 错误与它的 DETAIL
            found.append(f"{path.stem}：{said.get('event')} {said.get('path', '')} {cause[:300]}".rstrip())
    return found


def _stamped(said: dict[str, Any]) -> float:
    """日志的一行写于何时，Unix 秒。"""
    return datetime.fromisoformat(str(said["timestamp"])).timestamp()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.deploy.upgrade", description="上一版与这一版并存。")
    parser.add_argument("--short", action="store_true", help="用例里的那一趟")
    parser.add_argument("--seed", type=int, default=20_262, help="同一个种子，同一串提交")
    parser.add_argument("--write", type=Path, help="把结果写进这份文档的记号之间")
    options = parser.parse_args()
    try:
        report = asyncio.run(upgrade(SHORT if options.short else LONG, options.seed))
        controls = [(broken, asyncio.run(upgrade(CONTROL, options.seed, broken)).verdict) for broken in CONTROLS]
    except previous.AbsentError as error:
        typer.echo(str(error), err=True)
        return 1
    text = f"{document(report)}\n\n{control_table(controls)}"
    typer.echo(f"{text}\n\n{told(report)}")
    if options.write is not None:
        fill(options.write, "upgrade", text)
    condemned = all(broken.told in verdict.violations for broken, verdict in controls)
    return int(not (report.verdict.passed and condemned))


if __name__ == "__main__":
    sys.exit(main())
