"""升级那一趟的结果：每段一行的表，裁判的话，不合格的故事。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles

from tests.chaos.evidence import Evidence, TaskFact
from tests.chaos.verdict import Verdict
from tests.deploy import previous
from tests.deploy.broken import Broken
from tests.deploy.rolling import Phase, Roll
from tests.support.occasion import occasion


@dataclass(frozen=True, slots=True)
class Row:
    """一段的数；``wait`` 是受理到开始的 P95（毫秒），太少就没有；``workers`` 是手里有过活的旧、新 worker 各几个。"""

    phase: Phase
    accepted: int
    settled: int
    repeated: int
    wait: float | None
    workers: tuple[int, int]


@dataclass(slots=True)
class Report:
    verdict: Verdict
    rows: list[Row]
    migrations: list[str]
    differing: list[str]
    stories: dict[str, list[str]]


def rows_of(roll: Roll, evidence: Evidence) -> list[Row]:
    special = {entry.marker for entry in evidence.journal if entry.delay or entry.chain}
    plain = [task for task in evidence.tasks if task.marker not in special]
    return [_row(phase, roll, evidence.tasks, plain) for phase in roll.phases]


def _row(phase: Phase, roll: Roll, tasks: Sequence[TaskFact], plain: Sequence[TaskFact]) -> Row:
    def within(at: float | None) -> bool:
        return at is not None and phase.began <= at < phase.ended

    waits = [task.started - task.created for task in plain if within(task.created) and task.started is not None]
    busy = {pid for at, pid in roll.busy if within(at)}
    return Row(
        phase,
        sum(within(task.created) for task in tasks),
        sum(within(task.finished) for task in tasks),
        sum(heard.repeated and within(heard.at) for heard in roll.load.heard),
        quantiles(waits, n=20)[-1] * 1000 if len(waits) > 1 else None,
        (len(busy - roll.new), len(busy & roll.new)),
    )


def document(report: Report) -> str:
    same = "两版锁定的依赖一样" if not report.differing else f"锁定的依赖不同：{'、'.join(report.differing)}"
    lines = [
        f"{occasion()}；{previous.VERSION}（{previous.COMMIT[:7]}）与这一次提交的 wheel，各一个环境；{same}。",
        "",
        "| 段 | 秒 | 提交 | 受理 | 了结 | 压下的重复 | 受理到开始 P95，毫秒 | 有活的旧、新 worker |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row.phase.name} | {row.phase.ended - row.phase.began:.0f} | {row.phase.submitted} | {row.accepted}"
        f" | {row.settled} | {row.repeated} | {'–' if row.wait is None else f'{row.wait:.0f}'}"
        f" | {row.workers[0]}、{row.workers[1]} |"
        for row in report.rows
    ]
    verdict = report.verdict
    lines += ["", "| 名目 | 数 |", "| --- | --- |", f"| 裁判的话 | {_said(verdict)} |"]
    lines += [f"| 迁移 | {'；'.join(report.migrations)} |"]
    lines += [f"| 各状态 | {'，'.join(f'{state} {count}' for state, count in verdict.states.most_common())} |"]
    lines += [f"| {name} | {value:g} |" for name, value in verdict.figures.items() if value]
    lines += [f"| 其余 {sum(not value for value in verdict.figures.values())} 条 | 都是 0 |"]
    return "\n".join(lines)


def _said(verdict: Verdict) -> str:
    return "，".join(f"{name} {verdict.figures[name]:g}" for name in verdict.violations) or "合格"


def control_table(controls: Sequence[tuple[Broken, Verdict]]) -> str:
    """弄坏的各版与裁判说的话；没有判出来的写明。"""
    lines = ["| 弄坏的新版 | 裁判的话 |", "| --- | --- |"]
    for broken, verdict in controls:
        missed = "" if broken.told in verdict.violations else f"；没有说「{broken.told}」"
        lines.append(f"| {broken.name} | {_said(verdict)}{missed} |")
    return "\n".join(lines)


def told(report: Report) -> str:
    """不合格的例子与它们的故事。"""
    lines = [f"不合格：{name}：{', '.join(samples)}" for name, samples in report.verdict.violations.items()]
    for name, story in report.stories.items():
        lines += ["", f"{name}：", *(f"  {line}" for line in story)]
    return "\n".join(lines)
