"""``python -m tests.chaos``：长战役。退出码 0 合格，1 有承诺被打破（或对照没有失败）。"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from tests.chaos.campaign import Plan, Report, fight
from tests.chaos.controls import CONTROLS, Control
from tests.chaos.report import document, table
from tests.chaos.servers import running_servers
from tests.chaos.stage import Cast

MARK = "<!-- 以下由 python -m tests.chaos --write docs/RELIABILITY.md 填写 -->"
SEED = 20_261
TASKS = 10_000
FAULTS = 110
RATE = 32.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="真实的进程，真实的信号，独立的裁判。")
    parser.add_argument("--tasks", type=int, default=TASKS, help=f"提交多少个（默认 {TASKS}）")
    parser.add_argument("--faults", type=int, default=FAULTS, help=f"下手多少次（默认 {FAULTS}）")
    parser.add_argument("--rate", type=float, default=RATE, help=f"每秒提交多少个（默认 {RATE:g}）")
    parser.add_argument("--seed", type=int, default=SEED, help="同一个种子，同一串提交与故障（时序由操作系统定）")
    parser.add_argument("--policy", choices=("hold", "resend"), default="hold", help="邮件结局不明时的策略")
    parser.add_argument("--no-controls", action="store_true", help="不跑对照")
    parser.add_argument("--write", type=Path, help="把结果写进这份文档，记号之后的部分（默认不写）")
    parser.add_argument("--logs", type=Path, help="把各进程的日志留在这个目录")
    return parser.parse_args()


def record(path: Path | None, report: Report, controls: list[tuple[Control, Report]]) -> None:
    """至今的结果写进文档，记号之前的部分不动。"""
    if path is not None:
        head = path.read_text("utf-8").partition(MARK)[0] if path.exists() else ""
        path.write_text(f"{head}{MARK}\n\n{document(report, controls)}", "utf-8")


async def main(options: argparse.Namespace) -> int:
    plan = Plan("campaign", options.tasks, options.faults, options.seed, options.rate, cast=Cast(policy=options.policy))
    controls: list[tuple[Control, Report]] = []
    async with running_servers() as servers:
        report = await fight(servers, plan, options.logs)
        sys.stdout.write(table(report))
        sys.stdout.flush()
        record(options.write, report, controls)
        for control in () if options.no_controls else CONTROLS:
            outcome = await fight(servers, control.plan(options.seed), options.logs)
            controls.append((control, outcome))
            sys.stdout.write(
                f"对照「{control.title}」：{', '.join(outcome.verdict.violations) or '没有被判不合格！'}\n"
            )
            sys.stdout.flush()
            record(options.write, report, controls)
    toothless = [control for control, outcome in controls if not set(control.broken) & set(outcome.verdict.violations)]
    return int(bool(toothless) or not report.verdict.passed)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(arguments())))
