"""裁判自己的考试：伪造的历史，一份好的，其余各坏一处。"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.chaos.checker import judge
from tests.chaos.evidence import Evidence, Mail, Note, TaskFact
from tests.chaos.faults import Struck
from tests.chaos.journal import Entry, Kind, OperatorAction
from tests.chaos.meter import Reading
from tests.chaos.process_faults import BACKLOG_FLUSH

LEDGER = TaskFact("t-ledger", "sim:status_sync", "succeeded", 1, "8986001000000000001")
MAIL = TaskFact(
    "t-mail", "email:send", "succeeded", 1, "mail1@chaos.example", "", 10.0, 11.0, 12.5, ("mail1@chaos.example",)
)
NEXT = TaskFact(
    "t-next", "email:send", "succeeded", 1, "mail3@chaos.example", "", 20.0, 21.0, 22.5, ("mail3@chaos.example",)
)
WELCOME = TaskFact(
    "t-welcome", "email:send", "succeeded", 2, "user1@chaos.example", recipients=("user1@chaos.example",)
)


def arrival(task: TaskFact, at: float) -> Mail:
    return Mail(task.id, at, task.recipients)


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
        mails=[arrival(MAIL, 12.0), arrival(WELCOME, 13.0), arrival(NEXT, 22.0)],
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


def ended(task: TaskFact, value: str, error: str = "") -> Callable[[Evidence], None]:
    """邮件没寄成，任务如此收场。"""

    def forge(evidence: Evidence) -> None:
        evidence.tasks[evidence.tasks.index(task)] = replace(task, status=value, error=error)
        evidence.mails[:] = [mail for mail in evidence.mails if mail.task_id != task.id]

    return forge


def parked_without_a_fault(evidence: Evidence) -> None:
    ended(MAIL, "uncertain")(evidence)
    evidence.struck.append(Struck("FLUSHALL", 500.0, 501.0))
    evidence.notes.append(Note(MAIL.id, "uncertain", 12.0))


def twice_after_one_mark(evidence: Evidence) -> None:
    evidence.policy = "resend"
    evidence.notes.append(Note(MAIL.id, "resend", 13.0))
    evidence.mails += [arrival(MAIL, 14.0), arrival(MAIL, 15.0)]


def resent_under_hold(evidence: Evidence) -> None:
    evidence.notes.append(Note(MAIL.id, "uncertain", 13.0))
    evidence.mails.append(arrival(MAIL, 14.0))


def asked(*, denials: int) -> Callable[[Evidence], None]:
    """死在寄出前后，收件端答过 ``denials`` 次没收下，最后答收下了；信到了两封。"""

    def forge(evidence: Evidence) -> None:
        evidence.notes.append(Note(MAIL.id, "to_verify", 13.0))
        evidence.confirmed.add(MAIL.id)
        evidence.denied[MAIL.id] += denials
        evidence.mails.append(arrival(MAIL, 14.0))

    return forge


def confirmed_and_forgotten(evidence: Evidence) -> None:
    status(MAIL, "uncertain")(evidence)
    evidence.confirmed.add(MAIL.id)


def flushed(first: float | None) -> Callable[[Evidence], None]:
    """积压时 FLUSHALL，100 秒时放行；重投的那个 ``first`` 秒之后开始。"""

    def forge(evidence: Evidence) -> None:
        evidence.struck.append(Struck(BACKLOG_FLUSH, 99.0, 100.0))
        if first is not None:
            evidence.notes.append(Note(LEDGER.id, "redriven", 100.5, "queue_forgot", 2))
            evidence.tasks[0] = replace(LEDGER, delivery=2, started=100.0 + first)

    return forge


def woken(seconds: float) -> Callable[[Evidence], None]:
    """平静时的记账任务，受理之后 ``seconds`` 秒开始。"""

    def forge(evidence: Evidence) -> None:
        evidence.paced = True
        for number in range(30):
            name, created = f"t-{number}", 1_000.0 + number
            evidence.tasks.append(replace(LEDGER, id=name, marker=name, created=created, started=created + seconds))
            evidence.ledger[name] = 1

    return forge


def swollen(evidence: Evidence) -> None:
    evidence.long = True
    evidence.readings += [Reading(0.1, 5, {"relay-0": 80.0}), Reading(1.0, 5, {"relay-0": 120.0})]


def too_deep(evidence: Evidence) -> None:
    evidence.depth_limit = 100
    evidence.readings.append(Reading(0.5, 101))


def told(operator_action: OperatorAction, state: str) -> Callable[[Evidence], None]:
    """人要求过，得到了肯定的答复；任务却还是那样。"""

    def forge(evidence: Evidence) -> None:
        entry = evidence.journal[1]
        entry.asked.add(operator_action)
        entry.told[operator_action] = state

    return forge


def scheduled(evidence: Evidence) -> None:
    assert MAIL.started is not None
    evidence.journal[1].due = datetime.fromtimestamp(MAIL.started + 1.0, UTC)


def second_task(evidence: Evidence) -> None:
    evidence.tasks.append(replace(LEDGER, id="t-twin"))
    evidence.ledger["t-twin"] = 1


def bought(*, order: bool, mail: bool) -> Callable[[Evidence], None]:
    """用户连着下一张订单，订单与它的信只有一样。"""

    def forge(evidence: Evidence) -> None:
        evidence.journal[2].buys = True
        evidence.buyers |= {WELCOME.marker} if order else set()
        if mail:
            evidence.tasks.append(replace(WELCOME, id="t-order"))

    return forge


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
    "order without its mail": ("用户与邮件任务只有一半", bought(order=True, mail=False)),
    "mail without its order": ("用户与邮件任务只有一半", bought(order=False, mail=True)),
    "not finished": ("未了结的任务", status(LEDGER, "queued")),
    "no effect": ("成功却没有生效", lambda e: e.ledger.clear()),
    "two effects": ("重复生效", lambda e: e.ledger.update({LEDGER.id: 1})),
    "effect of a failed task": ("不该有的生效", status(LEDGER, "failed")),
    "effect of no task": ("不该有的生效", lambda e: e.ledger.update({"ghost": 1})),
    "no mail": ("成功却没有邮件", lambda e: e.mails.pop(0)),
    "two mails": ("重复的邮件（没有记号）", lambda e: e.mails.append(arrival(MAIL, 14.0))),
    "the next of a key started too early": ("同一个键乱序", started(NEXT, 12.4)),
    "the next of a key arrived first": (
        "同一个键乱序",
        lambda e: e.mails.__setitem__(2, arrival(NEXT, 11.9)),
    ),
    "mail of a failed task": ("不该有的邮件", status(MAIL, "failed")),
    "outbox row left": ("残留的发件箱行", lambda e: e.outbox.add(MAIL.id)),
    "failed without a reason": ("失败却没有原因", status(LEDGER, "failed")),
    "crash": ("进程崩溃", lambda e: e.crashes.update({"relay-0：退出码 1": 1})),
    "never back": ("恢复之后仍不可用", lambda e: e.unavailable.append("api-0")),
    "cancelled by nobody": ("没有人要求就取消", ended(MAIL, "cancelled")),
    "retried by nobody": ("没有人要求就重来", lambda e: e.notes.append(Note(MAIL.id, "retried", 12.0))),
    "told it is cancelled but it went on": ("答了已取消却没有取消", told(OperatorAction.CANCEL, "cancelled")),
    "told it comes again but it did not": ("答了重来却没有重来", told(OperatorAction.RETRY, "pending")),
    "started before its time": ("定时的提早开始", scheduled),
    "a ledger task failed": ("记账任务没有成功", status(LEDGER, "failed")),
    "a ledger task parked": ("记账任务没有成功", status(LEDGER, "uncertain")),
    "a mail failed before its attempts were used up": ("邮件没有用尽次数就失败", ended(MAIL, "failed", "怎么啦")),
    "too many mails failed": ("失败的邮件太多", ended(MAIL, "failed", "6 次尝试用尽：对方不在")),
    "parked and no fault at all": ("停下等人的邮件太多", ended(MAIL, "uncertain")),
    "parked long before any fault": ("结局不明而没有故障可解释", parked_without_a_fault),
    "three mails and one mark": ("重复的邮件（没有记号）", twice_after_one_mark),
    "resent though policy is hold": ("hold 之下没有人要求就再寄", resent_under_hold),
    "resent though the relay host has it": ("hold 之下没有人要求就再寄", asked(denials=0)),
    "confirmed but not settled": ("查证说收下了却没有成功", confirmed_and_forgotten),
    "one recipient of two forgotten": (
        "成功却没有邮件",
        lambda e: e.tasks.__setitem__(1, replace(MAIL, recipients=(*MAIL.recipients, "b@chaos.example"))),
    ),
    "mail to a stranger": ("不该有的邮件", lambda e: e.mails.append(Mail(MAIL.id, 12.0, ("x@chaos.example",)))),
    "redriven late after a flush": ("FLUSHALL 之后 2 秒（容差 2）没有重投的开始", flushed(4.5)),
    "never redriven after a flush": ("FLUSHALL 之后 2 秒（容差 2）没有重投的开始", flushed(None)),
    "started as late as polling allows": ("平静时受理到开始，中位超过 0.25 秒", woken(0.4)),
    "faults that struck nothing": ("打中的故障不到九成", lambda e: setattr(e, "planned", 1)),
    "a leak": ("内存一路上涨", swollen),
    "too many deliveries in Redis": ("Redis 里的投递越过水位", too_deep),
    "a delivery vanished without a word": ("换了投递号，时间线里没有缘由", lambda e: e.unexplained.append(MAIL.id)),
    "stuck": ("没有在 30 秒之内干净地停下", lambda e: e.stuck.append("worker-0")),
    "idle in transaction": ("闲置在事务里的连接", lambda e: setattr(e, "idle_in_transaction", 1)),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_history_is_condemned_by_name(name: str) -> None:
    rule, forge = FORGERIES[name]
    evidence = history()
    forge(evidence)
    assert rule in judge(evidence).violations


def test_a_second_mail_after_a_mark_is_counted_not_condemned() -> None:
    evidence = history()
    twice_after_one_mark(evidence)
    evidence.mails.pop()
    verdict = judge(evidence)
    assert verdict.passed, verdict.violations
    assert verdict.figures["重复的邮件（留有不明或重发记号）"] == 1


def test_a_person_may_have_a_held_mail_sent_again() -> None:
    evidence = history()
    resent_under_hold(evidence)
    evidence.struck.append(Struck("SIGKILL worker", 12.0, 12.0))
    evidence.notes.append(Note(MAIL.id, "retried", 13.5))
    evidence.journal[1].asked.add(OperatorAction.RETRY)
    verdict = judge(evidence)
    assert verdict.passed, verdict.violations


def test_a_mail_the_relay_host_denies_may_be_sent_again_under_hold() -> None:
    evidence = history()
    asked(denials=1)(evidence)
    verdict = judge(evidence)
    assert verdict.passed, verdict.violations
    assert verdict.figures["查证的邮件，收下了的"] == verdict.figures["查证的邮件，没收下的"] == 1


def test_a_person_may_cancel() -> None:
    evidence = history()
    ended(MAIL, "cancelled")(evidence)
    told(OperatorAction.CANCEL, "cancelled")(evidence)
    verdict = judge(evidence)
    assert verdict.passed, verdict.violations


@pytest.mark.parametrize("forge", [flushed(1.9), woken(0.02)], ids=["flush", "wake"])
def test_a_build_as_quick_as_promised_passes(forge: Callable[[Evidence], None]) -> None:
    evidence = history()
    forge(evidence)
    verdict = judge(evidence)
    assert verdict.passed, verdict.violations


def test_a_flush_among_other_faults_is_not_timed() -> None:
    evidence = history()
    flushed(9.0)(evidence)
    evidence.struck.append(Struck("SIGKILL 全部 worker", 95.0, 95.0))
    verdict = judge(evidence)
    assert verdict.passed, verdict.violations
    assert verdict.figures["单独的积压时 FLUSHALL"] == 0


def test_a_long_campaign_whose_every_flush_had_company_is_no_proof() -> None:
    evidence = history()
    evidence.long = True
    flushed(9.0)(evidence)
    evidence.struck.append(Struck("SIGKILL 全部 worker", 95.0, 95.0))
    assert "没有一次单独的积压时 FLUSHALL 可判" in judge(evidence).violations
