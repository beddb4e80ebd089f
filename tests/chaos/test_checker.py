"""裁判自己的考试：伪造的历史，一份好的，其余各坏一处。"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.chaos.checker import judge
from tests.chaos.evidence import Evidence, Mail, TaskFact
from tests.chaos.load import Entry, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

LEDGER = TaskFact("t-ledger", "sim:status_sync", "succeeded", 1, "8986001000000000001")
MAIL = TaskFact("t-mail", "email:send", "succeeded", 1, "mail1@chaos.example", "", 10.0, 11.0, 12.5)
NEXT = TaskFact("t-next", "email:send", "succeeded", 1, "mail3@chaos.example", "", 20.0, 21.0, 22.5)
WELCOME = TaskFact("t-welcome", "email:send", "succeeded", 2, "user1@chaos.example")


def history() -> Evidence:
    journal = [
        Entry(Kind.LEDGER, LEDGER.marker, answers={LEDGER.id}, tries=1),
        Entry(Kind.MAIL, MAIL.marker, chain="k", answers={MAIL.id}, tries=3),
        Entry(Kind.USER, WELCOME.marker, answers={"1"}, tries=1),
        Entry(Kind.MAIL, "mail2@chaos.example", tries=6),  # 不明，也没有受理
        Entry(Kind.MAIL, NEXT.marker, chain="k", answers={NEXT.id}, tries=1),
    ]
    return Evidence(
        journal,
        [LEDGER, MAIL, WELCOME, NEXT],
        users={WELCOME.marker: "1"},
        ledger=Counter({LEDGER.id: 1}),
        mails=[Mail(MAIL.id, 12.0, 1), Mail(WELCOME.id, 13.0, 1), Mail(NEXT.id, 22.0, 1)],
    )


def test_an_honest_history_passes() -> None:
    verdict = judge(history())
    assert verdict.passed, verdict.violations
    assert verdict.figures["已受理"] == 4
    assert verdict.figures["不明（没等到答复）"] == 1
    assert verdict.figures["投递放大"] == pytest.approx(5 / 4, abs=0.001)


def without_task(evidence: Evidence) -> None:
    evidence.tasks.remove(MAIL)
    del evidence.mails[0]


def status(task: TaskFact, value: str) -> Callable[[Evidence], None]:
    def forge(evidence: Evidence) -> None:
        evidence.tasks[evidence.tasks.index(task)] = replace(task, status=value)

    return forge


def started(task: TaskFact, at: float) -> Callable[[Evidence], None]:
    def forge(evidence: Evidence) -> None:
        evidence.tasks[evidence.tasks.index(task)] = replace(task, started=at)

    return forge


def second_task(evidence: Evidence) -> None:
    evidence.tasks.append(replace(LEDGER, id="t-twin"))
    evidence.ledger["t-twin"] = 1


FORGERIES: dict[str, tuple[str, Callable[[Evidence], object]]] = {
    "lost task": ("丢失（已受理却没有任务）", without_task),
    "another task answers": (
        "丢失（已受理却没有任务）",
        lambda e: e.journal.__setitem__(0, replace(e.journal[0], answers={"other"})),
    ),
    "two answers": ("同一个键多份或答案不一", lambda e: e.journal[1].answers.add("other")),
    "two tasks for one key": ("同一个键多份或答案不一", second_task),
    "refused": ("合法的提交被拒", lambda e: e.journal[1].refusals.append(422)),
    "user without mail": ("用户与邮件任务只有一半", lambda e: e.tasks.remove(WELCOME)),
    "mail without user": ("用户与邮件任务只有一半", lambda e: e.users.clear()),
    "not finished": ("未了结的任务", status(LEDGER, "queued")),
    "no effect": ("成功却没有生效", lambda e: e.ledger.clear()),
    "two effects": ("重复生效", lambda e: e.ledger.update({LEDGER.id: 1})),
    "effect of a failed task": ("不该有的生效", status(LEDGER, "failed")),
    "effect of no task": ("不该有的生效", lambda e: e.ledger.update({"ghost": 1})),
    "no mail": ("成功却没有邮件", lambda e: e.mails.pop(0)),
    "two mails": ("重复的邮件（没有记号）", lambda e: e.mails.append(Mail(MAIL.id, 14.0, 1))),
    "the next of a key started too early": ("同一个键乱序", started(NEXT, 12.4)),
    "the next of a key arrived first": (
        "同一个键乱序",
        lambda e: e.mails.__setitem__(2, Mail(NEXT.id, 11.9, 1)),
    ),
    "mail of a failed task": ("不该有的邮件", status(MAIL, "failed")),
    "outbox row left": ("残留的发件箱行", lambda e: e.outbox.add(MAIL.id)),
    "failed without a reason": ("失败却没有原因", status(LEDGER, "failed")),
    "crash": ("进程崩溃", lambda e: e.crashes.update({"relay-0：退出码 1": 1})),
    "never back": ("恢复之后仍不可用", lambda e: e.unavailable.append("api-0")),
    "stuck": ("30 秒没停下", lambda e: e.stuck.append("worker-0")),
    "idle in transaction": ("闲置在事务里的连接", lambda e: setattr(e, "idle_in_transaction", 1)),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_history_is_condemned_by_name(name: str) -> None:
    rule, forge = FORGERIES[name]
    evidence = history()
    forge(evidence)
    assert rule in judge(evidence).violations


def test_two_mails_of_a_task_that_admits_it_are_counted_not_condemned() -> None:
    evidence = history()
    evidence.mails.append(Mail(MAIL.id, 14.0, 1))
    evidence.marked.add(MAIL.id)
    verdict = judge(evidence)
    assert verdict.passed
    assert verdict.figures["重复的邮件（留有不明或重发记号）"] == 1
