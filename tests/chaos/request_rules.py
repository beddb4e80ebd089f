"""人的要求的裁判：要求过的才发生，答应了的一定发生；定时的不提早。"""

from __future__ import annotations

from tests.chaos.evidence import Evidence
from tests.chaos.journal import OperatorAction
from tests.chaos.verdict import Verdict


def judge_requests(verdict: Verdict, evidence: Evidence) -> None:
    tasks = {task.id: task for task in evidence.tasks}
    entries = {answer: entry for entry in evidence.journal for answer in entry.answers}
    retried = {note.task_id for note in evidence.notes if note.kind == "retried"}
    cancelled = {task.id for task in evidence.tasks if task.status == "cancelled"}

    def asked(operator_action: OperatorAction) -> set[str]:
        return {name for name, entry in entries.items() if operator_action in entry.asked}

    def told(operator_action: OperatorAction, state: str) -> set[str]:
        """答应了的；答应本身随尾巴没了的不算。"""
        said = {name for name, entry in entries.items() if entry.told.get(operator_action) == state}
        return said - evidence.gone - evidence.rewound.keys()

    verdict.figures["人要求取消、重来"] = len(asked(OperatorAction.CANCEL)) + len(asked(OperatorAction.RETRY))
    verdict.figures["其中取消了、重来了"] = len(cancelled) + len(retried)
    verdict.figures["带几个任务的投递"] = evidence.shared
    verdict.rule("没有人要求就取消", sorted(cancelled - asked(OperatorAction.CANCEL)))
    verdict.rule("没有人要求就重来", sorted(retried - asked(OperatorAction.RETRY)))
    verdict.rule("答了已取消却没有取消", sorted(told(OperatorAction.CANCEL, "cancelled") - cancelled))
    verdict.rule("答了重来却没有重来", sorted(told(OperatorAction.RETRY, "pending") - retried))
    early = []
    for name, entry in entries.items():
        started = tasks[name].started if name in tasks else None
        if entry.due is not None and started is not None and started < entry.due.timestamp():
            early.append(name)
    verdict.rule("定时的提早开始", sorted(early))
