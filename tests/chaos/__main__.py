"""``python -m tests.chaos``：长战役，或 ``--scenario`` 一个目标。退出码 0 合格，1 有承诺被打破或对照不如所料。"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.campaign import Plan, Report, fight
from tests.chaos.catalogue import CATALOGUE
from tests.chaos.controls import CONTROLS, Control
from tests.chaos.report import document, said, table
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.servers import running_servers
from tests.chaos.stage import Cast

if TYPE_CHECKING:
    from tests.chaos.servers import Servers

MARK = "<!-- 以下由 python -m tests.chaos --write docs/RELIABILITY.md 填写 -->"
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
    parser.add_argument("--kinds", nargs="+", choices=tuple(CATALOGUE), metavar="故障", help="只用这几种故障")
    parser.add_argument("--policy", choices=("hold", "resend"), default="hold", help="邮件结局不明时的策略")
    parser.add_argument("--no-controls", action="store_true", help="不跑对照")
    parser.add_argument("--only-controls", nargs="*", metavar="零件", help="只跑对照；可给出弄坏的零件")
    parser.add_argument("--scenario", choices=tuple(SCENARIOS), help="只量一个目标")
    parser.add_argument("--count", type=int, help="--scenario：多少个任务（各有默认）")
    parser.add_argument("--minutes", type=float, default=10.0, help="--scenario redis-outage：停多少分钟（默认 10）")
    parser.add_argument("--lease", type=float, default=15.0, help="--scenario worker-kill：租约多少秒（默认 15）")
    parser.add_argument("--high-water", type=int, help="--scenario storm：每个队列在 Redis 里至多几个（默认随产品）")
    parser.add_argument("--write", type=Path, help="把结果写进这份文档，记号之后的部分（默认不写）")
    parser.add_argument("--logs", type=Path, help="把各进程的日志留在这个目录")
    return parser.parse_args()


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def record(path: Path | None, text: str) -> None:
    """至今的结果写进文档，记号之前的部分不动。"""
    if path is not None:
        head = path.read_text("utf-8").partition(MARK)[0] if path.exists() else ""
        path.write_text(f"{head}{MARK}\n\n{text}", "utf-8")


async def campaign(servers: Servers, options: argparse.Namespace) -> bool:
    plan = Plan(
        "campaign",
        options.tasks,
        options.faults,
        options.seed,
        options.rate,
        kinds=tuple(options.kinds or CATALOGUE),
        cast=Cast(policy=options.policy),
    )
    report = await fight(servers, plan, options.logs, say)
    say(table(report))
    record(options.write, document(report, []))
    outcomes = [] if options.no_controls else await controls(servers, options)
    record(options.write, document(report, outcomes))
    return report.verdict.passed and all(control.as_expected(outcome) for control, outcome in outcomes)


async def controls(servers: Servers, options: argparse.Namespace) -> list[tuple[Control, Report]]:
    outcomes = []
    for control in CONTROLS:
        if options.only_controls and control.mutation not in options.only_controls:
            continue
        outcome = await fight(servers, control.plan(options.seed), options.logs)
        outcomes.append((control, outcome))
        verdict = "如所料" if control.as_expected(outcome) else "不如所料！"
        missed = sum(bool(recovery.strike.missed) for recovery in outcome.recoveries)
        strikes = f"{len(outcome.recoveries)} 次故障，没打中 {missed}"
        say(f"对照「{control.title}」（该 {control.expectation}；{strikes}）：{said(outcome)}。{verdict}")
    return outcomes


async def main(options: argparse.Namespace) -> int:
    async with running_servers() as servers:
        if options.scenario:
            outcome = await SCENARIOS[options.scenario](servers, options)
            say(outcome.table())
            return int(not outcome.passed)
        if options.only_controls is not None:
            outcomes = await controls(servers, options)
            return int(not all(control.as_expected(outcome) for control, outcome in outcomes))
        return int(not await campaign(servers, options))


if __name__ == "__main__":
    sys.exit(asyncio.run(main(arguments())))
