"""快慢的裁判：只有唤醒与纪元做得到的快；零件坏了，光靠轮询与核对赶不上。"""

from __future__ import annotations

from statistics import median

from tests.chaos.evidence import Evidence
from tests.chaos.faults import Struck
from tests.chaos.process_faults import BACKLOG_FLUSH
from tests.chaos.recovery import HORIZON
from tests.chaos.verdict import MAIL, Verdict

FIRST_START = 2.0  # 秒：目标
SLACK = 2.0  # 秒：七个进程挤两个核，刚从停住里醒来
ALOFT = 10.0  # 秒：前一次故障停了这么久，才说得清是谁的后果
WAKE = 0.25  # 秒：一秒一次的轮询，哪怕两个 relay 正好错开，中位也到不了
ENOUGH = 20  # 个：少于这么多不判


def judge_timing(verdict: Verdict, evidence: Evidence) -> None:
    _first_starts(verdict, evidence)
    if evidence.paced:
        _wakes(verdict, evidence)


def _first_starts(verdict: Verdict, evidence: Evidence) -> None:
    """积压时 FLUSHALL、前后没有别的故障：第一个重投的多久开始。"""
    lone = [strike for strike in evidence.struck if _lone(strike, evidence.struck)]
    waits = [_first_start(strike, evidence) for strike in lone]
    verdict.figures["单独的积压时 FLUSHALL"] = len(lone)
    flushed = sum(strike.kind == BACKLOG_FLUSH for strike in evidence.struck)
    if evidence.long and flushed and not lone:
        verdict.rule("没有一次单独的积压时 FLUSHALL 可判", [f"{flushed} 次都有别的故障相伴"])
    verdict.figures[f"其中 {FIRST_START:g} 秒之内有重投的开始"] = sum(wait <= FIRST_START for wait in waits)
    late = [f"{wait:.2f} 秒" for wait in waits if wait > FIRST_START + SLACK]
    verdict.rule(f"FLUSHALL 之后 {FIRST_START:g} 秒（容差 {SLACK:g}）没有重投的开始", late)


def _lone(strike: Struck, struck: list[Struck]) -> bool:
    return (
        strike.kind == BACKLOG_FLUSH
        and not strike.missed
        and not any(
            other.ended + ALOFT > strike.at and other.at < strike.ended + FIRST_START + SLACK
            for other in struck
            if other is not strike
        )
    )


def _first_start(strike: Struck, evidence: Evidence) -> float:
    """从放行 worker 量起；一个也没有是无穷。"""
    redriven = {
        (note.task_id, note.delivery) for note in evidence.notes if note.kind == "redriven" and note.at >= strike.at
    }
    starts = [task.started for task in evidence.tasks if task.started and (task.id, task.delivery) in redriven]
    return min((started - strike.ended for started in starts), default=float("inf"))


def _wakes(verdict: Verdict, evidence: Evidence) -> None:
    """故障之外受理的记账任务，受理到开始。"""
    windows = [(strike.at, strike.ended + HORIZON) for strike in evidence.struck]
    delayed = {entry.marker for entry in evidence.journal if entry.delay}
    waits = [
        task.started - task.created
        for task in evidence.tasks
        if task.type != MAIL and task.marker not in delayed and task.delivery == 1 and task.started is not None
        if not any(begin <= task.created <= end for begin, end in windows)
    ]
    if len(waits) < ENOUGH:
        return
    middle = median(waits)
    verdict.figures["平静时受理到开始，中位（毫秒）"] = round(middle * 1000)
    verdict.rule(f"平静时受理到开始，中位超过 {WAKE:g} 秒", [f"{middle:.2f} 秒"] if middle > WAKE else [])
