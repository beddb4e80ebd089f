"""忘了尾巴的历史：死了的主库记得的接回去，退回是一步；协议补办得出的合格，没补办的认得出来。"""

from __future__ import annotations

import pytest

from tests.chaos.evidence import Mail
from tests.chaos.histories import SET_BACK, steps, word
from tests.chaos.history_rules import allowed, examine
from tests.chaos.recording import CUT, Change, Recorded, delivered
from tests.chaos.rewinding import Cut, cut_between, relived
from tests.chaos.verdict import MAIL
from tests.model.history import BACK, Rules
from tests.support.installed import program

pytestmark = pytest.mark.rigs

SYNC = "sim:status_sync"
ACCEPTED = ("task pending 1 0 0 0 0 0", "outbox 1")
QUEUED = ("outbox 0", "task queued 1 0 0 0 0 0")
CLAIMED = ("task running 1 1 0 0 0 0",)
INTENDED = ("task running 1 1 0 0 1 0",)
WRITTEN = ("effect", "task succeeded 1 1 0 0 0 0")
DONE = ("task succeeded 1 1 0 0 0 0",)
REDRIVEN = ("task pending 2 0 0 0 0 0", "outbox 2")
AGAIN = ("outbox 0", "task queued 2 0 0 0 0 0")
RECLAIMED = ("task running 2 1 0 0 0 0",)
REWRITTEN = ("effect", "task succeeded 2 1 0 0 0 0")
DOUBTED = ("task uncertain 2 0 0 0 1 0", "mark")
SENT = ("sent",)
LETTER = (ACCEPTED, QUEUED, CLAIMED, INTENDED, SENT)

UNHURT = "一步没丢"
Transactions = tuple[tuple[str, ...], ...]
# 断开之前的，其中留下的几笔（收下的信不算），断开之后的
POSSIBLE: dict[str, tuple[str, Transactions, int, Transactions]] = {
    "做完了退回排队，重投，再做": (
        SYNC,
        (ACCEPTED, QUEUED, CLAIMED, WRITTEN),
        2,
        (REDRIVEN, AGAIN, RECLAIMED, REWRITTEN),
    ),
    UNHURT: (SYNC, (ACCEPTED, QUEUED, CLAIMED), 3, (WRITTEN,)),
    "寄了退回排队，不明": (MAIL, (*LETTER, DONE), 2, (DOUBTED,)),
    "寄了退回在跑，持有者补上意向，做完": (MAIL, LETTER, 3, (INTENDED, DONE)),
    "收回的退回在跑，从前的持有者做完": (
        SYNC,
        (ACCEPTED, QUEUED, CLAIMED, ("task pending 2 0 1 0 0 0", "outbox 2")),
        3,
        (WRITTEN,),
    ),
}
IMPOSSIBLE: dict[str, tuple[str, Transactions, int, Transactions]] = {
    "寄了退回排队，悄悄再寄": (
        MAIL,
        (*LETTER, DONE),
        2,
        (REDRIVEN, AGAIN, RECLAIMED, ("task running 2 1 0 0 1 0",), SENT, ("task succeeded 2 1 0 0 0 0",)),
    ),
    "做完了退回排队，没有重投就认领": (SYNC, (ACCEPTED, QUEUED, CLAIMED, WRITTEN), 2, (CLAIMED, WRITTEN)),
    "退回排队，丢了的认领照样写": (SYNC, (ACCEPTED, QUEUED, CLAIMED), 2, (WRITTEN,)),
}
RULES = Rules(forgets=True)


@pytest.fixture(autouse=True)
def _spin() -> None:
    program("spin", since=(6, 5), asking="-V")
    program("gcc")


def written(task_type: str, transactions: Transactions, first: int, last: str) -> list[Change]:
    """库里记下的；收下的信不在库里。"""
    changes: list[Change] = []
    for number, rows in enumerate(transactions, first):
        for row in rows:
            what, _, became = row.partition(" ")
            was = (last or f"{task_type} f") if what == "task" else ""
            if row not in SENT:
                changes.append(Change(float(number), str(number % 10), what, was, became))
            last = became if what == "task" else last
    return changes


def arrivals(name: str, transactions: Transactions, first: int) -> list[Mail]:
    return [Mail(name, float(number), ()) for number, one in enumerate(transactions, first) if one == SENT]


def joined(name: str, task_type: str, before: Transactions, kept: int, after: Transactions) -> Recorded:
    """``before`` 是死了的主库记得的；新的主库只有前 ``kept`` 笔。事务号到了新的主库里会重来。"""
    old = written(task_type, before, 0, "")
    stayed = [change for change in old if change.at < kept]
    last = [change.became for change in stayed if change.what == "task"][-1]
    first = 10 + kept
    final = (*stayed, *written(task_type, after, first, last))
    cut = cut_between(9.5, {name: Recorded(name, tuple(old))}, {name: Recorded(name, tuple(stayed))})
    (history,), gone = relived([Recorded(name, final)], [cut])
    assert gone == []
    return delivered([history], [*arrivals(name, before, 0), *arrivals(name, after, first)])[0]


def test_what_the_protocol_makes_good_passes_and_what_it_does_not_is_refused() -> None:
    opinion = examine([joined(name, *case) for name, case in (POSSIBLE | IMPOSSIBLE).items()], RULES)
    assert {line.partition("：")[0] for line in opinion.refused} == set(IMPOSSIBLE)
    assert opinion.unordered == []


def test_a_cut_is_a_step_and_one_left_out_is_refused() -> None:
    """一步没丢的那种不算：没有那次切换，一样走得出来。"""
    histories = [joined(name, *case) for name, case in POSSIBLE.items() if name != UNHURT]
    for history in histories:
        taken = steps(history)
        (place,) = (place for place, step in enumerate(taken) if SET_BACK in step)
        assert BACK in word(taken, mail=history.mail)
        left_out = word([*taken[:place], *taken[place + 1 :]], mail=history.mail)
        assert allowed([left_out], RULES) == set()


def test_several_cuts_each_lose_their_own_tail_and_the_last_ones_that_lost_nothing_are_left_out() -> None:
    first = Recorded("甲", tuple(written(SYNC, (ACCEPTED, QUEUED, CLAIMED), 0, "")))
    stayed = Recorded("甲", first.changes[:4])
    later = Recorded(
        "甲", (*stayed.changes, *written(SYNC, (REDRIVEN, AGAIN, RECLAIMED), 20, stayed.changes[-1].became))
    )
    final = Recorded("甲", (*later.changes, *written(SYNC, (REWRITTEN,), 40, later.changes[-1].became)))
    cuts = [cut_between(10.0, {"甲": first}, {"甲": stayed}), Cut(30.0), Cut(50.0)]
    (history,), _ = relived([final], cuts)
    assert [change.at for change in history.changes if change.what == CUT] == [10.0, 30.0]
    assert len({change.transaction for change in history.changes}) == 3 + 3 + 1 + 2  # 各代各是各的
    assert not history.broken
    assert examine([history], RULES).refused == []


def test_cuts_that_follow_one_another_and_lose_nothing_are_walked_one_by_one() -> None:
    changes = written(SYNC, (ACCEPTED,), 0, "")
    final = Recorded("丁", (*changes, *written(SYNC, (QUEUED, CLAIMED, WRITTEN), 20, changes[0].became)))
    (history,), _ = relived([final], [Cut(10.0), Cut(12.0), Cut(14.0)])
    assert word(steps(history), mail=False).count(BACK) == 3
    assert examine([history], RULES).refused == []


@pytest.mark.parametrize(
    ("before", "stayed", "after"),
    [
        ((ACCEPTED, ("outbox 0",), CLAIMED), {0, 2}, (("outbox 0",), WRITTEN)),
        ((ACCEPTED, ("outbox 0",), CLAIMED, WRITTEN), {0, 2, 3}, (("outbox 0",),)),
    ],
    ids=["退回在跑", "退回做完了的"],
)
def test_a_hand_over_begun_before_a_claim_and_committed_after_it_may_be_lost_without_it(
    before: Transactions, stayed: set[int], after: Transactions
) -> None:
    """relay 先动手、后提交：留下的有认领，没有它删去发件箱行的那一笔。"""
    old = written(SYNC, before, 0, "")
    kept = [change for change in old if int(change.at) in stayed]
    last = [change.became for change in kept if change.what == "task"][-1]
    cut = cut_between(9.5, {"戊": Recorded("戊", tuple(old))}, {"戊": Recorded("戊", tuple(kept))})
    (history,), _ = relived([Recorded("戊", (*kept, *written(SYNC, after, 14, last)))], [cut])
    assert not history.broken
    assert examine([history], RULES).refused == []


def test_what_vanished_is_judged_as_far_as_it_went() -> None:
    lost = Recorded("乙", tuple(written(SYNC, (ACCEPTED, QUEUED), 0, "")))
    whole, gone = relived([], [cut_between(10.0, {"乙": lost}, {})])
    assert (whole, [one.task_id for one in gone]) == ([], ["乙"])
    assert examine([], RULES, gone).refused == []
    skipped = Recorded("丙", lost.changes[2:])
    assert len(examine([], RULES, [skipped]).refused) == 1
