"""切换的裁判的考试：回来得晚、丢了没点名、没丢却点名、根本没丢成，各判得出来；好的合格。"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.chaos.catalogue import DIRECTED, STANDBY, STANDBY_KINDS
from tests.chaos.checker import judge
from tests.chaos.controls import SPECIAL_CONTROLS
from tests.chaos.evidence import Evidence, Mail, Note, TaskFact
from tests.chaos.failover_rules import NOTHING_LOST
from tests.chaos.faults import Struck
from tests.chaos.journal import Entry, Kind
from tests.chaos.recording import Change, Recorded
from tests.chaos.sentinel_faults import TAIL_LOST
from tests.chaos.tail import Memory, Tail, cut_off

KEPT = TaskFact("t-kept", "sim:status_sync", "succeeded", 1, "8986001000000000001", "", 99.0, 101.0, 102.0)
GONE, MAIL = "t-gone", "email:send"
PROMOTED = 100.0
OLD = Memory(
    {
        KEPT.id: (KEPT.type, None, "succeeded", 1, 1, False),
        GONE: (MAIL, "mail1@chaos.example", "queued", 1, 0, False),
    },
    {"1", "2"},
    Counter({KEPT.id: 1, GONE: 1}),
)
NEW = Memory({KEPT.id: (KEPT.type, None, "running", 1, 1, False)}, {"1"}, Counter())
TAIL = cut_off(OLD, NEW)


def history() -> Evidence:
    journal = [
        Entry(Kind.LEDGER, KEPT.marker, answers={KEPT.id}, tries=1),
        Entry(Kind.MAIL, "mail1@chaos.example", answers={GONE}, tries=1),
        Entry(Kind.USER, "user1@chaos.example", answers={"2"}, tries=1),
    ]
    return Evidence(
        journal,
        [KEPT],
        ledger=Counter({KEPT.id: 1}),
        mails=[Mail(GONE, 99.5, ("mail1@chaos.example",))],
        struck=[Struck("提升丢了尾巴的备库", 98.0, 103.0)],
        promoted=[PROMOTED],
        signs={"api-0": [99.0, 101.5], "api-1": [102.0], "worker-0": [101.0], "relay-0": [104.0]},
        tails=[TAIL],
        vanished={GONE: (MAIL, "mail1@chaos.example")},
    )


def away(name: str, *moments: float) -> dict[str, object]:
    """别的进程都回来了，只有它没有。"""
    return {"signs": {**history().signs, name: list(moments)}}


def test_what_a_new_primary_does_not_know_is_the_difference_of_the_two() -> None:
    assert (TAIL.tasks[GONE].status, TAIL.users, TAIL.rewound, TAIL.effects) == (
        "queued",
        {"2"},
        {KEPT.id: KEPT.type},
        2,
    )


@pytest.mark.parametrize("named", [(MAIL, "mail1@chaos.example"), (f"{MAIL}|sim:change", "")])
def test_a_promotion_that_lost_its_tail_and_named_it_passes(named: tuple[str, str]) -> None:
    verdict = judge(replace(history(), vanished={GONE: named}))
    assert verdict.passed, verdict.violations
    assert verdict.figures["其中答过 2xx 的（连同用户）"] == 2


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (away("api-1", 99.0, 108.0), "提升之后 5 秒有进程没有新的受理"),
        (away("worker-1", 99.5), "提升之后 5 秒有进程没有新的认领"),
        (away("relay-1"), "提升之后 5 秒有进程没有新的交出"),
        ({"vanished": {}}, "投递还在而没有点名"),
        ({"vanished": None}, "丢了的没有一处点名"),
        ({"vanished": {GONE: (MAIL, "other")}}, "点了名而类型或请求号不对"),
        ({"vanished": {GONE: (f"{MAIL}|sim:change", "mail1@chaos.example")}}, "点了名而类型或请求号不对"),
        ({"vanished": {GONE: (f"{MAIL}|data:sync|sim:change", "")}}, "点了名而类型或请求号不对"),
        ({"vanished": {GONE: (MAIL, "")}}, "点了名而类型或请求号不对"),
        ({"vanished": {GONE: (MAIL, "mail1@chaos.example"), KEPT.id: ("", "")}}, "没有丢却说不见了"),
        ({"tails": [TAIL, Tail()]}, NOTHING_LOST),
        ({"tails": []}, "丢失（已受理却没有任务）"),
    ],
)
def test_each_breach_is_seen(broken: dict[str, object], rule: str) -> None:
    assert rule in judge(replace(history(), **broken)).violations  # type: ignore[arg-type] # 每项各是它的类型


def test_a_promotion_among_other_faults_is_shown_and_not_judged() -> None:
    evidence = history()
    evidence.signs["api-0"] = [108.0]
    evidence.struck.append(Struck("SIGKILL 全部 worker", 101.0, 101.0))
    verdict = judge(evidence)
    assert verdict.passed, verdict.violations
    assert (verdict.figures["单独的提升"], verdict.figures["提升之后各进程的首个受理，最晚（秒）"]) == (0, 8)


def test_a_promotion_after_which_nobody_asked_for_anything_is_shown_and_not_judged() -> None:
    verdict = judge(replace(history(), **away("relay-1"), asked_until=PROMOTED + 4))  # type: ignore[arg-type] # 同上
    assert verdict.passed, verdict.violations


def switched(handed: float, redriven: float, cause: str = "redis_lost_data", delivery: int = 2) -> Evidence:
    """一次经哨兵的切换：何时交出的，何时、为什么重投。"""
    staged = Change(90.0, "1", "task", f"{KEPT.type} f", "pending 1 0 0 0 0 0")
    queued = Change(handed, "2", "task", staged.became, "queued 1 0 0 0 0 0")
    return replace(
        history(),
        promoted=[],
        tails=[],
        vanished={},
        tasks=[replace(KEPT, delivery=2)],
        journal=history().journal[:1],
        mails=[],
        histories=[Recorded(KEPT.id, (staged, queued))],
        notes=[Note(KEPT.id, "redriven", redriven, cause, delivery)],
        struck=[Struck(TAIL_LOST, 98.0, 103.0)],
    )


def test_a_switch_that_lost_a_delivery_which_was_redriven_passes() -> None:
    verdict = judge(switched(99.0, 104.0))
    assert verdict.passed, verdict.violations
    assert verdict.figures["丢在尾巴里、重投了的投递"] == 1


@pytest.mark.parametrize(
    "evidence",
    [
        pytest.param(switched(97.0, 104.0), id="handed-over-while-still-replicated"),
        pytest.param(switched(104.0, 105.0), id="handed-over-to-the-new-master"),
        pytest.param(switched(99.0, 104.0, "lease_expired"), id="redriven-for-another-reason"),
        pytest.param(switched(99.0, 104.0, delivery=3), id="another-delivery"),
    ],
)
def test_switches_that_lost_nothing_prove_nothing(evidence: Evidence) -> None:
    assert set(judge(evidence).violations) == {NOTHING_LOST}


def test_every_campaign_that_switches_has_a_control_that_must_be_condemned() -> None:
    assert SPECIAL_CONTROLS.keys() == {*STANDBY_KINDS, "sentinel"}
    controls = [control for some in SPECIAL_CONTROLS.values() for control in some]
    assert all(control.broken for control in controls)
    assert {kind for control in controls for kind in control.kinds} <= {*DIRECTED, *STANDBY}
