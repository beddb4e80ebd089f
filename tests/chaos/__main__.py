"""``python -m tests.chaos``：长战役，或 ``--scenario`` 一个目标。退出码 0 合格，1 有承诺被打破或对照不如所料。"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from tests.chaos.campaign import Plan, Report, fight
from tests.chaos.catalogue import CATALOGUE, POWER_CUT, SENTINEL, SENTINEL_KINDS, STANDBY, STANDBY_KINDS
from tests.chaos.controls import CONTROLS, SPECIAL_CONTROLS, Control
from tests.chaos.pairing import running_pair
from tests.chaos.report import controls_document, document, fill, missed, said, table
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.sentinel_faults import watched_by_sentinels
from tests.chaos.servers import Servers, running_servers
from tests.chaos.stage import Cast
from tests.support.occasion import occasion

ALL = "all"
SEED = 20_261
TASKS = 100_000
FAULTS = 200
RATE = 40.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="真实的进程，真实的信号，独立的裁判。")
    parser.add_argument("--tasks", type=int, default=TASKS, help=f"提交多少个（默认 {TASKS}）")
    parser.add_argument("--faults", type=int, default=FAULTS, help=f"下手多少次（默认 {FAULTS}）")
    parser.add_argument("--rate", type=float, default=RATE, help=f"每秒提交多少个（默认 {RATE:g}）")
    parser.add_argument("--seed", type=int, default=SEED, help="同一个种子，同一串提交与故障（时序由操作系统定）")
    kinds = (*CATALOGUE, *STANDBY, *SENTINEL, POWER_CUT)
    parser.add_argument("--kinds", nargs="+", choices=kinds, metavar="故障", help="只用这几种故障")
    parser.add_argument("--fsync", choices=("on", "off"), default="off", help="PostgreSQL 等不等磁盘（默认 off）")
    parser.add_argument("--power", action="store_true", help=f"两个服务器在会断电的盘上，故障里多一种{POWER_CUT}")
    parser.add_argument("--policy", choices=("hold", "resend"), default="hold", help="邮件结局不明时的策略")
    parser.add_argument("--verify", action="store_true", help="邮件结局不明时先问收件端收下没有")
    parser.add_argument(
        "--standby",
        choices=tuple(STANDBY_KINDS),
        help="PostgreSQL 是一主一备，一次次切换：同步的；异步的，每次丢一截尾巴",
    )
    parser.add_argument("--sentinel", action="store_true", help="Redis 是一主一从、三个哨兵，一次次切换")
    parser.add_argument("--no-controls", action="store_true", help="不跑对照")
    parser.add_argument("--only-controls", nargs="*", metavar="零件", help="只跑对照；可给出弄坏的零件")
    parser.add_argument("--scenario", choices=(*SCENARIOS, ALL), help="只量一个目标，或全部目标")
    parser.add_argument("--count", type=int, help="--scenario：多少个任务（各有默认）")
    parser.add_argument("--minutes", type=float, default=10.0, help="--scenario redis-outage：停多少分钟（默认 10）")
    parser.add_argument("--lease", type=float, default=15.0, help="--scenario worker-kill：租约多少秒（默认 15）")
    parser.add_argument("--high-water", type=int, help="--scenario storm：每个队列在 Redis 里至多几个（默认随产品）")
    parser.add_argument("--write", type=Path, help="把结果写进这份文档里相应的一对记号之间（默认不写）")
    parser.add_argument("--logs", type=Path, help="把各进程的日志留在这个目录")
    return parser.parse_args()


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def record(path: Path | None, name: str, text: str) -> None:
    if path is not None:
        fill(path, name, text)


def part_of(options: argparse.Namespace) -> str:
    """结果写在文档里的哪一对记号之间；也是库的名字。"""
    if options.standby:
        return f"failover_{options.standby}"
    if options.sentinel or options.power:
        return "sentinel" if options.sentinel else "power"
    return "verify" if options.verify else {"hold": "campaign"}.get(options.policy, options.policy)


def kinds_of(options: argparse.Namespace) -> tuple[str, ...]:
    """没有指名的，这种战役发哪些牌。"""
    if options.standby:
        return STANDBY_KINDS[options.standby]
    return SENTINEL_KINDS if options.sentinel else (*CATALOGUE, *[POWER_CUT][: options.power])


def opened(options: argparse.Namespace) -> AbstractAsyncContextManager[Servers]:
    """战役的服务器：平常的、在会断电的盘上的、一主一备的，或经哨兵的。"""
    if options.standby:
        return running_pair(synchronous=options.standby == "sync")
    running = running_servers(fsync=options.fsync == "on", power=options.power)
    return watched_by_sentinels(running) if options.sentinel else running


async def campaign(servers: Servers, options: argparse.Namespace) -> bool:
    plan = Plan(
        part_of(options),
        options.tasks,
        options.faults,
        options.seed,
        options.rate,
        kinds=tuple(options.kinds or kinds_of(options)),
        cast=Cast(policy=options.policy, verify=options.verify),
    )
    report = await fight(servers, plan, options.logs, say)
    say(table(report))
    record(options.write, plan.name.replace("_", "-"), document(report))
    return report.verdict.passed


async def controls(servers: Servers, options: argparse.Namespace) -> bool:
    outcomes: list[tuple[Control, Report]] = []
    special = options.standby or ("sentinel" if options.sentinel else "")
    if special == "sync" and servers.pair is not None:
        servers.pair.synchronous = False
        await servers.pair.copy()
    told = part_of(options).replace("_", "-")
    for control in SPECIAL_CONTROLS.get(special, CONTROLS):
        if options.only_controls and control.mutation not in options.only_controls:
            continue
        outcome = await fight(servers, control.plan(options.seed), options.logs)
        outcomes.append((control, outcome))
        verdict = "如所料" if control.as_expected(outcome) else "不如所料！"
        strikes = f"{len(outcome.recoveries)} 次故障，没打中 {missed(outcome)}"
        say(f"对照「{control.title}」（该 {control.expectation}；{strikes}）：{said(outcome)}。{verdict}")
        record(options.write, f"{told}-controls" if special else "controls", controls_document(outcomes))
    return all(control.as_expected(outcome) for control, outcome in outcomes)


async def scenario(servers: Servers, options: argparse.Namespace) -> bool:
    names = tuple(SCENARIOS) if options.scenario == ALL else (options.scenario,)
    outcomes = []
    for name in names:
        outcome = await SCENARIOS[name](servers, options)
        outcomes.append(outcome)
        say(outcome.table())
        record(options.write, name, f"```text\n{occasion()}\n{outcome.table()}\n```")
    return all(outcome.passed for outcome in outcomes)


async def main(options: argparse.Namespace) -> int:
    async with opened(options) as servers:
        if options.scenario:
            return int(not await scenario(servers, options))
        passed = options.only_controls is not None or await campaign(servers, options)
        as_expected = options.no_controls or await controls(servers, options)
    return int(not (passed and as_expected))


if __name__ == "__main__":
    sys.exit(asyncio.run(main(arguments())))
