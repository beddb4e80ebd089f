"""战役的结果：终端上的一张表，或一份文档。"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.campaign import Report
from tests.chaos.controls import Control
from tests.chaos.recovery import rows
from tests.chaos.story import RAISED
from tests.support.occasion import occasion

MOST_RAISED = 5


def summary(report: Report) -> dict[str, str]:
    """名目 → 数。"""
    verdict = report.verdict
    struck = [recovery.strike for recovery in report.recoveries]
    found = {
        "种子": str(report.plan.seed),
        "故障": f"{len(struck)} 次，{len({strike.kind for strike in struck})} 种，其中没打中 {missed(report)} 次",
        "负载与故障": f"{report.fault_seconds:.0f} 秒",
        "恢复之后排空": f"{report.drain_seconds:.1f} 秒",
        "各状态": "，".join(f"{state} {count}" for state, count in verdict.states.most_common()),
    }
    return found | {name: f"{value:g}" for name, value in verdict.figures.items()}


def _spread(values: tuple[float, float] | None) -> str:
    return "–" if values is None else f"{values[0]:.1f} / {values[1]:.1f}"


def causes(report: Report) -> list[str]:
    """每种重投原因，按它之前最近的一次故障归类，多的在前。"""
    by_cause: dict[str, Counter[str]] = {}
    for recovery in report.recoveries:
        for cause, count in recovery.redriven.items():
            by_cause.setdefault(cause, Counter())[recovery.strike.kind] += count
    return [
        f"{cause} {counts.total()}：{'，'.join(f'{kind} {count}' for kind, count in counts.most_common(8))}"
        for cause, counts in sorted(by_cause.items())
    ]


def table(report: Report) -> str:
    lines = [f"{name}：{value}" for name, value in summary(report).items()]
    lines += ["", "故障（次数/没打中/单独可量，首个新任务生效、最老任务回到 2 秒以内：中位 / 最长，秒；重投）"]
    lines += [
        f"  {row.kind:<26} {row.count:>3}/{row.missed}/{row.alone:<3} {_spread(row.first_effect):>12}"
        f"  {_spread(row.fresh):>12}  {row.redriven:>5}"
        for row in rows(report.recoveries)
    ]
    lines += ["", "重投的来由：", *(f"  {line}" for line in causes(report))]
    lines += ["", "例外事件：" + "，".join(f"{kind} {count}" for kind, count in sorted(report.events.items()))]
    for name, story in report.stories.items():
        lines += ["", f"{name}：", *(f"  {line}" for line in story)]
    # 放在末尾：测试的失败报告长了，略去的是中段
    raised = [f"{name}：{line}" for name, story in report.stories.items() for line in story if RAISED in line]
    lines += ["", *raised[-MOST_RAISED:]]
    lines += [f"不合格：{name}：{', '.join(samples)}" for name, samples in report.verdict.violations.items()]
    lines.append(f"结论：{'合格' if report.verdict.passed else f'不合格，用 --seed {report.plan.seed} 重来'}")
    return "\n".join(lines) + "\n"


def document(report: Report) -> str:
    """docs/evidence/RELIABILITY.md 里由真实的战役填写的部分。"""
    lines = ["| 名目 | 数 |", "| --- | --- |", f"| 何时何处 | {occasion()} |", f"| 裁判的话 | {said(report)} |"]
    lines += [f"| {name} | {value} |" for name, value in summary(report).items()]
    lines += [
        "",
        "恢复用时从故障结束量起，中位 / 最长，秒；只数打中了、且没有别的故障插进来的（「可量」）。",
        "",
        "| 故障 | 次数 | 没打中 | 可量 | 首个新任务生效 | 最老任务回到 2 秒以内 | 重投 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.kind} | {row.count} | {row.missed} | {row.alone} | {_spread(row.first_effect)} | {_spread(row.fresh)}"
        f" | {row.redriven} |"
        for row in rows(report.recoveries)
    ]
    lines += ["", "重投的来由（按之前最近的一次故障归类）：", ""]
    lines += [f"- {line}" for line in causes(report)]
    lines += ["", "| 例外事件 | 次数 |", "| --- | --- |"]
    lines += [f"| {kind} | {count} |" for kind, count in sorted(report.events.items())]
    return "\n".join(lines)


def controls_document(outcomes: Sequence[tuple[Control, Report]]) -> str:
    """对照的表。"""
    lines = [
        "| 弄坏的零件 | 该怎样，为什么 | 任务 / 故障 / 没打中 | 裁判的话 | 如所料 |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {control.title} | {control.expectation} | {control.tasks} / {len(outcome.recoveries)} / {missed(outcome)}"
        f" | {said(outcome)} | {'是' if control.as_expected(outcome) else '**否**'} |"
        for control, outcome in outcomes
    ]
    return "\n".join(lines)


def fill(path: Path, name: str, text: str) -> None:
    """换掉文档里 ``<!-- name -->`` 与 ``<!-- /name -->`` 之间的部分，别处不动。

    Raises:
        LookupError: 没有这对记号。
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    content = path.read_text("utf-8")
    if begin not in content or end not in content:
        raise LookupError(f"{path} 里没有 {begin} 与 {end}")
    head, _, rest = content.partition(begin)
    path.write_text(f"{head}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}", "utf-8")


def missed(outcome: Report) -> int:
    """没打中的次数。"""
    return sum(bool(recovery.strike.missed) for recovery in outcome.recoveries)


def said(outcome: Report) -> str:
    """裁判的话：打破了哪几条、各几例。"""
    verdict = outcome.verdict
    return "，".join(f"{name} {verdict.figures[name]:g}" for name in verdict.violations) or "合格"
