"""历史的裁判自己的考试：手写的历史，协议走得出来的与走不出来的；判的是模型。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.chaos import history_rules
from tests.chaos.evidence import Mail
from tests.chaos.explained import REASONS, explained
from tests.chaos.histories import damaged, mutants, steps, word
from tests.chaos.history_rules import REFUSED, UNORDERED, UNSEEN, Opinion, examine, judge_histories
from tests.chaos.recording import Change, Recorded, delivered
from tests.chaos.verdict import MAIL, Verdict
from tests.model.history import END, FARTHEST, Rules
from tests.support.installed import program
from tests.support.repository import ROOT

SYNC = "sim:status_sync"
# 一笔：表，改成什么。任务行依次是状态、投递号、尝试、连丢的租约、已交还、意向、要求过取消
ACCEPTED = ("task pending 1 0 0 0 0 0", "outbox 1")
QUEUED = ("outbox 0", "task queued 1 0 0 0 0 0")
CLAIMED = ("task running 1 1 0 0 0 0",)
INTENDED = ("task running 1 1 0 0 1 0",)
SENT = ("sent",)
WRITTEN = ("effect", "task succeeded 1 1 0 0 0 0")
DONE = ("task succeeded 1 1 0 0 0 0",)
UNCLEAR = ("task uncertain 1 1 0 0 1 0", "mark")
RECLAIMED = ("task pending 2 0 1 0 0 0", "outbox 2")
AGAIN = ("outbox 0", "task queued 2 0 1 0 0 0")
RECLAIMED_UNCLEAR = ("task uncertain 2 1 1 0 1 0", "mark")
RETRIED = ("task pending 3 0 0 0 1 0", "outbox 3")
LEDGER = (ACCEPTED, QUEUED, CLAIMED, WRITTEN)
LETTER = (ACCEPTED, QUEUED, CLAIMED, INTENDED, SENT, DONE)
TAKEN_OVER = (ACCEPTED, QUEUED, CLAIMED, RECLAIMED, AGAIN, ("task running 2 1 1 0 0 0",))
SUSPECTED = (
    *TAKEN_OVER,
    ("task pending 3 0 2 0 0 0", "outbox 3"),
    ("outbox 0", "task queued 3 0 2 0 0 0"),
)
RETURNED = ("task running 3 1 2 1 0 0",)
COMES_AGAIN = (
    ("task pending 4 0 2 0 0 0", "outbox 4"),
    ("outbox 0", "task queued 4 0 2 0 0 0"),
    ("task running 4 1 2 0 0 0",),
    ("effect", "task succeeded 4 1 2 0 0 0"),
)

POSSIBLE = {
    "记账，一路顺利": (SYNC, LEDGER),
    "寄信，一路顺利": (MAIL, LETTER),
    "还没标记就被认领，标记跳过它": (SYNC, (ACCEPTED, CLAIMED, ("outbox 0",), WRITTEN)),
    "做完了，发件箱行才被拿走": (SYNC, (ACCEPTED, CLAIMED, WRITTEN, ("outbox 0",))),
    "还没标记就被认领，又要求取消": (
        SYNC,
        (ACCEPTED, CLAIMED, ("task running 1 1 0 0 0 1",), ("outbox 0",), ("effect", "task succeeded 1 1 0 0 0 1")),
    ),
    "嫌疑，认领的同时就交还": (SYNC, (*SUSPECTED, RETURNED, *COMES_AGAIN)),
    "嫌疑，认领的同时就交还，又被取消": (
        SYNC,
        (*SUSPECTED, RETURNED, ("task running 3 1 2 1 0 1",), ("task cancelled 4 1 2 0 0 1",)),
    ),
    "死者手里的由继任者做完": (SYNC, (*TAKEN_OVER, ("effect", "task succeeded 2 1 1 0 0 0"))),
    "不明，停下等人": (MAIL, (*LETTER[:5], UNCLEAR)),
    "收回之后，僵尸手里的信才到": (MAIL, (*LETTER[:4], RECLAIMED_UNCLEAR, SENT)),
    "让位，不计尝试": (
        MAIL,
        (
            ACCEPTED,
            QUEUED,
            CLAIMED,
            ("task retrying 2 0 0 0 0 0", "outbox 2"),
            ("outbox 0", "task queued 2 0 0 0 0 0"),
            ("task running 2 1 0 0 0 0",),
            ("task running 2 1 0 0 1 0",),
            SENT,
            ("task succeeded 2 1 0 0 0 0",),
        ),
    ),
}
IMPOSSIBLE = {
    "没有受理": (SYNC, LEDGER[1:]),
    "没有认领": (SYNC, (ACCEPTED, QUEUED, WRITTEN)),
    "成功而没有生效": (SYNC, (ACCEPTED, QUEUED, CLAIMED, DONE)),
    "先生效、后结算": (SYNC, (ACCEPTED, QUEUED, CLAIMED, ("effect",), DONE)),
    "生效两次": (SYNC, (*LEDGER, ("effect",))),
    "僵尸在收回之后写了": (SYNC, (*TAKEN_OVER[:5], WRITTEN)),
    "僵尸的写入盖过继任者": (SYNC, (*TAKEN_OVER, ("effect", "task succeeded 1 1 1 0 0 0"))),
    "没记意向就寄": (MAIL, (*LETTER[:3], SENT, DONE)),
    "没寄却说成功": (MAIL, (*LETTER[:4], DONE)),
    "先说成功、后寄": (MAIL, (*LETTER[:4], DONE, SENT)),
    "没有记号又寄一封": (MAIL, (*LETTER[:5], SENT, DONE)),
    "寄过却说失败": (MAIL, (*LETTER[:5], ("task failed 1 1 0 0 0 0",))),
    "收回而没有换投递号": (SYNC, (ACCEPTED, QUEUED, CLAIMED, ("task pending 1 0 1 0 0 0", "outbox 1"))),
    "结局又变了": (SYNC, (*LEDGER, ("task failed 1 1 0 0 0 0",))),
    "排着的没有交出过": (SYNC, (ACCEPTED, ("task queued 1 0 0 0 0 0",), CLAIMED, WRITTEN)),
    "没有做完": (SYNC, LEDGER[:3]),
    "做完了还留着发件箱行": (SYNC, (ACCEPTED, CLAIMED, WRITTEN)),
}


@pytest.fixture(autouse=True)
def _spin() -> None:
    program("spin", since=(6, 5), asking="-V")
    program("gcc")


def recorded(name: str, task_type: str, transactions: Sequence[Sequence[str]]) -> Recorded:
    changes: list[Change] = []
    last = f"{task_type} f"
    for number, rows in enumerate(transactions):
        for row in rows:
            what, _, became = row.partition(" ")
            changes.append(Change(float(number), str(number), what, last if what == "task" else "", became))
            last = became if what == "task" else last
    return Recorded(name, tuple(changes))


def test_what_the_protocol_can_do_passes_and_what_it_cannot_is_refused() -> None:
    histories = [recorded(name, *history) for name, history in (POSSIBLE | IMPOSSIBLE).items()]
    opinion = examine(histories, Rules())
    assert {line.partition("：")[0] for line in opinion.refused} == set(IMPOSSIBLE)
    verdict = Verdict()
    judge_histories(verdict, opinion)
    assert set(verdict.violations) == {REFUSED}
    assert verdict.figures["历史"] == len(POSSIBLE | IMPOSSIBLE)


def test_a_mail_sent_again_needs_the_policy_or_a_person() -> None:
    again = ("task retrying 2 1 0 0 1 0", "outbox 2", "mark")
    resent = (
        *LETTER[:5],
        again,
        ("outbox 0", "task queued 2 1 0 0 1 0"),
        ("task running 2 2 0 0 1 0",),
        SENT,
        ("task succeeded 2 2 0 0 0 0",),
    )
    asked = (
        *LETTER[:4],
        RECLAIMED_UNCLEAR,
        RETRIED,
        ("outbox 0", "task queued 3 0 0 0 1 0"),
        ("task running 3 1 0 0 1 0",),
        SENT,
        ("task succeeded 3 1 0 0 0 0",),
    )
    histories = [recorded("再寄", MAIL, resent), recorded("人叫它再寄", MAIL, asked)]
    assert [line.partition("：")[0] for line in examine(histories, Rules()).refused] == ["再寄"]
    assert examine(histories[:1], Rules(resend=True)).refused == []


def test_a_mail_takes_its_place_by_the_clock() -> None:
    (history,) = delivered([recorded("甲", MAIL, (*LETTER[:4], DONE))], [Mail("甲", 3.5, ()), Mail("乙", 1.0, ())])
    assert [change.what for change in history.changes][-3:] == ["task", "sent", "task"]
    assert steps(history)[-2:] == [(("+sends", 1),), (("status", "succeeded"), ("intent", 0))]


def test_a_task_behind_another_of_its_key_counts_as_staged() -> None:
    late = recorded("丙", SYNC, (("task pending 1 0 0 0 0 0",), ("outbox 1",), *LEDGER[1:]))
    first, *rest = late.changes
    ordered = Recorded("丁", (first._replace(was=f"{SYNC} t"), *rest))
    assert [line.partition("：")[0] for line in examine([late, ordered], Rules()).refused] == ["丙"]


def test_a_record_that_does_not_join_up_is_reported() -> None:
    whole = recorded("戊", SYNC, LEDGER)
    gap = Recorded("己", (*whole.changes[:3], *whole.changes[4:]))
    assert examine([whole, gap], Rules()).unordered == ["己"]
    verdict = Verdict()
    judge_histories(verdict, examine([gap], Rules()))
    assert UNORDERED in verdict.violations


def test_two_that_change_one_task_at_once_are_put_in_order_unless_it_is_the_same_in_both() -> None:
    """要求取消的与交还的锁着不同的行，看见的都是执行着的样子；收回的两样都看得见。"""
    running, asked = "running 1 1 0 0 0 0", "running 1 1 0 0 0 1"

    def seen(released: str, ending: str) -> Opinion:
        history = recorded("同时", SYNC, (ACCEPTED, QUEUED, CLAIMED))
        at_once = [(running, asked), (running, released), (released, ending)]
        changes = (Change(float(n), str(n), "task", was, became) for n, (was, became) in enumerate(at_once, 10))
        return examine([replace(history, changes=(*history.changes, *changes))], Rules())

    cancelled = seen("running 1 1 0 1 0 0", "cancelled 2 1 0 0 0 1")
    assert (cancelled.unordered, cancelled.refused) == ([], [])
    assert seen("running 1 1 0 1 0 1", "cancelled 2 1 0 0 0 1").unordered == ["同时"]


def test_what_is_too_long_for_the_model_is_judged_as_far_as_it_counts() -> None:
    taken = steps(recorded("庚", SYNC, LEDGER))
    far = [*taken, (("delivery", FARTHEST + 1),), (("delivery", 0),)]
    assert word(far, mail=False) == word(taken, mail=False)[:-1]
    assert word(taken, mail=False)[-1] == END


def test_what_is_broken_at_the_edge_of_what_the_model_counts_is_not_held_against_the_judge() -> None:
    """少了的那一步之后就数不到了：剩下的是好历史的开头，谁也认不出来。"""
    redriven = [
        rows
        for number in range(2, FARTHEST + 2)
        for rows in (
            (f"task pending {number} 0 0 0 0 0", f"outbox {number}"),
            ("outbox 0", f"task queued {number} 0 0 0 0 0"),
        )
    ]
    verdict = Verdict()
    judge_histories(verdict, examine([recorded("长", SYNC, (ACCEPTED, QUEUED, *redriven))], Rules()))
    assert verdict.violations == {}


def test_a_broken_history_is_one_step_away() -> None:
    taken = steps(recorded("辛", SYNC, LEDGER))
    kinds = [kind for kind, _, _ in mutants(taken)]
    assert (kinds.count("少一步"), kinds.count("重一步"), kinds.count("换两步")) == (4, 4, 3)


def test_a_judge_that_accepts_every_damaged_history_is_condemned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_rules, "allowed", lambda words, _rules: set(words))
    verdict = Verdict()
    judge_histories(verdict, examine([recorded("壬", SYNC, LEDGER), recorded("癸", MAIL, LETTER)], Rules()))
    assert set(verdict.violations) == {UNSEEN}


# 一段历史、怎样弄坏、动的是哪一步：模型若放过它，裁判不许
UNEXPLAINED = [
    (SYNC, LEDGER, "少一步", "status=running、attempt"),
    (SYNC, LEDGER, "少一步", "status=succeeded、+effects"),
    (SYNC, LEDGER, "换两步", "status=queued、outbox ⇄ status=running、attempt"),
    (SYNC, LEDGER, "换两步", "status=running、attempt ⇄ status=succeeded、+effects"),
    (SYNC, LEDGER, "一步里少一样", "status=succeeded、+effects 少 +effects"),
    (SYNC, LEDGER, "一步里少一样", "status=queued、outbox 少 outbox"),
    (SYNC, LEDGER, "重一步", "status=succeeded、+effects"),
    (SYNC, TAKEN_OVER, "少一步", "status=pending、delivery、attempt、lost、outbox"),
    (SYNC, TAKEN_OVER, "一步里少一样", "status=pending、delivery、attempt、lost、outbox 少 delivery"),
    (MAIL, LETTER, "少一步", "intent"),
    (MAIL, LETTER, "少一步", "+sends"),
    (MAIL, LETTER, "重一步", "+sends"),
    (MAIL, LETTER, "换两步", "intent ⇄ +sends"),
    (MAIL, LETTER, "换两步", "+sends ⇄ status=succeeded、intent"),
    (MAIL, (*LETTER[:5], UNCLEAR), "一步里少一样", "status=uncertain、+marks 少 +marks"),
]


@pytest.mark.parametrize(("task_type", "transactions", "kind", "place"), UNEXPLAINED)
def test_a_damage_nobody_explained_may_not_pass(
    task_type: str, transactions: tuple[tuple[str, ...], ...], kind: str, place: str
) -> None:
    (damage,) = {
        one
        for one, _ in damaged(steps(recorded("子", task_type, transactions)))
        if (one.kind, one.place) == (kind, place)
    }
    assert not explained(damage)


def test_what_the_model_lets_pass_of_the_known_is_explained() -> None:
    opinion = examine([recorded(name, *history) for name, history in POSSIBLE.items()], Rules())
    assert opinion.passed_off
    assert [one for one in opinion.passed_off if not explained(one)] == []


def test_the_document_gives_every_reason() -> None:
    text = (ROOT / "docs/evidence/RELIABILITY.md").read_text("utf-8")
    assert [reason.why for reason in REASONS if f"| {reason.why} |" not in text] == []
