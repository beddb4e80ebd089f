"""判断的话：每件事两种语言都说得成句，键与空格两边相同。"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product

from kaguan.breakers.board import BreakerKind, OpenBreaker
from kaguan.verdict.judging import judge
from kaguan.verdict.model import ConcernCode
from kaguan.verdict.observation import Ending, Outside
from kaguan.verdict.wording import Wording, catalogue
from kaguan.words.reasons import Reason
from tests.support.observations import LIMIT, PAUSE, ago, blocked, broker, flow, held, ledger, lock, process, seen

HIGH_WATER = 100
BREAKER = OpenBreaker(BreakerKind.CARRIER, "onelink", "opened", ago(40), Reason("carriers.failed", {"status": 500}), 1)
REASON = Reason("mail.deferred", {"replies": [Reason("mail.unreachable")]})


def test_both_languages_have_the_same_sentences_with_the_same_blanks() -> None:
    zh, en = catalogue("zh"), catalogue("en")
    for part in ("concern", "advice", "scope", "role", "more"):
        assert set(zh[part]) == set(en[part])
        for key in zh[part]:
            assert set(re.findall(r"\{(\w+)\}", zh[part][key])) == set(re.findall(r"\{(\w+)\}", en[part][key])), key
            assert not re.search(r"[\u4e00-\u9fff]", en[part][key]), key
    assert set(zh["concern"]) == set(zh["advice"])
    bases = {re.sub(r"_(bad|warn|still|waiting|least|held|final)$", "", key) for key in zh["concern"]}
    assert bases == {str(code) for code in ConcernCode}


TROUBLES = [
    *judge(seen(None, None), window=HIGH_WATER),
    *judge(
        seen(
            ledger(
                due={"critical": 40.0},
                forwarded=40.0,
                queued={"low": (3, 40.0)},
                held=[held(expired=1)],
                parked=1,
                wiped_at=ago(20),
                gate_is_open=False,
                vanished=(2, ago(60)),
                flow=[flow("attempt_failed", detail=REASON.stored(), minute=9, moment=9), flow("failed")],
                endings=[Ending("email:send", 9, 0, ago(9))],
                blocked=[blocked()],
                totals={"uncertain": 1},
            ),
            broker(
                [
                    replace(process("relay"), unknown={"sim:magic": 1}, deaf=True),
                    process("worker", seen=30),
                    process("api", started=99, seen=50),
                    process("api", started=45),
                ],
                breakers=[BREAKER, replace(BREAKER, name="control_center", state="half-opened")],
            ),
        ),
        window=HIGH_WATER,
    ),
    *judge(seen(ledger(), broker(), lock()), window=HIGH_WATER),
    *judge(
        seen(
            ledger(due={"critical": 40.0}, outside=[Outside("email:send", 300, 90.0)]),
            broker([process("relay"), replace(process("worker"), held={"email:send": 20})]),
            lock(seconds=None),
        ),
        window=HIGH_WATER,
    ),
    *judge(
        seen(
            ledger(due={"critical": 40.0}),
            broker([process("relay"), replace(process("worker"), held={"x": 20}, away={"x": {"smtp": 1}})]),
        ),
        window=HIGH_WATER,
    ),
    *judge(seen(ledger(paused=[PAUSE], bounded=[LIMIT]), broker([])), window=HIGH_WATER),
    *judge(
        seen(ledger(connected=["relay", "worker"]), broker([process("relay", seen=20), process("worker", seen=20)])),
        window=HIGH_WATER,
    ),
]


def test_every_trouble_can_be_said_in_both_languages() -> None:
    assert {concern.code for concern in TROUBLES} == set(ConcernCode)
    for concern, language in product(TROUBLES, ("zh", "en")):
        wording = Wording(language)
        assert "{" not in wording.text(concern) + wording.advice(concern)


def test_who_accepts_is_named_by_what_it_does_and_a_role_of_the_database_as_it_is() -> None:
    [quiet] = [one for one in TROUBLES if one.code is ConcernCode.RESTARTS]
    assert Wording("en").text(quiet).startswith("The process that accepts on ")
    assert " 上的 受理进程在 5 分钟里" in Wording("zh").text(quiet)
    [locked] = judge(seen(ledger(), broker(), replace(lock(), role="api")), window=HIGH_WATER)
    assert "role api)" in Wording("en").text(locked)
