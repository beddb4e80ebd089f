"""战役的结果：终端上的一张表，或一份文档。"""

from __future__ import annotations

import os
import platform
from collections import Counter
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.campaign import Report
    from tests.chaos.controls import Control


def summary(report: Report) -> dict[str, str]:
    """名目 → 数。"""
    verdict = report.verdict
    rows = {
        "种子": str(report.plan.seed),
        "故障": f"{len(report.struck)} 次，{len({strike.kind for strike in report.struck})} 种",
        "负载与故障": f"{report.fault_seconds:.0f} 秒",
        "恢复之后排空": f"{report.drain_seconds:.1f} 秒",
        "各状态": "，".join(f"{state} {count}" for state, count in verdict.states.most_common()),
    }
    rows |= {name: f"{value:g}" for name, value in verdict.figures.items()}
    return rows


def table(report: Report) -> str:
    lines = [f"{name}：{value}" for name, value in summary(report).items()]
    lines += ["", "故障（次数，在手的任务全部了结用时：中位 / 最长，秒）"]
    lines += [
        f"  {kind:<28} {count:>3}  {middle:6.1f} / {worst:6.1f}" for kind, count, middle, worst in strikes(report)
    ]
    lines += ["", "例外事件：" + "，".join(f"{kind} {count}" for kind, count in sorted(report.events.items()))]
    lines += [f"不合格：{name}：{', '.join(samples)}" for name, samples in report.verdict.violations.items()]
    lines.append(f"结论：{'合格' if report.verdict.passed else f'不合格，用 --seed {report.plan.seed} 重来'}")
    return "\n".join(lines) + "\n"


def strikes(report: Report) -> list[tuple[str, int, float, float]]:
    counts = Counter(strike.kind for strike in report.struck)
    return [(kind, counts[kind], median(times), max(times)) for kind, times in sorted(report.recovery.items())]


def document(report: Report, controls: Sequence[tuple[Control, Report]]) -> str:
    """docs/RELIABILITY.md 里由真实运行填写的部分。"""
    machine = f"{os.cpu_count()} 核，{platform.system()} {platform.machine()}，Python {platform.python_version()}"
    lines = ["| 名目 | 数 |", "| --- | --- |", f"| 机器 | {machine} |"]
    lines += [f"| {name} | {value} |" for name, value in summary(report).items()]
    lines += ["", "| 故障 | 次数 | 在手的任务全部了结，中位 / 最长（秒） |", "| --- | --- | --- |"]
    lines += [f"| {kind} | {count} | {middle:.1f} / {worst:.1f} |" for kind, count, middle, worst in strikes(report)]
    lines += ["", "| 例外事件 | 次数 |", "| --- | --- |"]
    lines += [f"| {kind} | {count} |" for kind, count in sorted(report.events.items())]
    lines += ["", "| 对照（弄坏的零件） | 任务 / 故障 | 裁判的话 |", "| --- | --- | --- |"]
    for control, outcome in controls:
        said = "，".join(f"{name} {outcome.verdict.figures[name]:g}" for name in outcome.verdict.violations)
        lines.append(
            f"| {control.title} | {control.tasks} / {len(outcome.struck)} | {said or '没有判不合格（坏了！）'} |"
        )
    return "\n".join(lines) + "\n"
