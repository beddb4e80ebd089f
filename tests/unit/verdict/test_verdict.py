"""判断：同样的所见得同样的结论，每种情形说得出是什么、多重、从何时起；两种语言都说得成句。"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from kaguan.breakers.board import BreakerKind, OpenBreaker
from kaguan.outbox.operate.backlog import QueueBacklog
from kaguan.presence.census import succeed
from kaguan.verdict.judging import judge
from kaguan.verdict.locks import Lock
from kaguan.verdict.memory import HOLD, Remembered, recall
from kaguan.verdict.model import Concern, ConcernCode, Level, Verdict
from kaguan.verdict.observation import Broker, Crowd, Ending, Ledger, Outside, sized
from kaguan.verdict.queries import COUNT_CAP
from kaguan.verdict.wording import Wording
from kaguan.words.reasons import Reason
from tests.support.observations import NOW, PAUSE, ago, blocked, broker, flow, held, ledger, lock, process, seen

WINDOW = 100
BREAKER = OpenBreaker(BreakerKind.CARRIER, "onelink", "opened", ago(40), Reason("carriers.failed", {"status": 500}), 1)
REASON = Reason("mail.deferred", {"replies": [Reason("mail.unreachable")]})


def found(record: Ledger | None = None, line: Broker | None = None) -> dict[str, Level]:
    concerns = judge(seen(record or ledger(), line or broker()), window=WINDOW)
    return {concern.code: concern.level for concern in concerns}


def one(record: Ledger | None = None, line: Broker | None = None) -> Concern:
    [concern] = judge(seen(record or ledger(), line or broker()), window=WINDOW)
    return concern


def test_a_calm_system_is_ok() -> None:
    busy = ledger(
        queued={"default": (40, 2.0)},
        due={"low": 3.0},
        held=[held()],
        flow=[flow(total=900, minute=200, moment=50), flow("failed", total=9, minute=2, moment=1)],
    )
    assert found(busy) == {}


@pytest.mark.parametrize(
    ("record", "line", "code", "level"),
    [
        pytest.param(ledger(queued={"default": (273, 12.0)}), broker(), "stalled", "bad", id="nothing moves"),
        pytest.param(ledger(queued={"low": (2, 12.0)}), broker(), None, None, id="low may rest a while"),
        pytest.param(
            ledger(queued={"default": (9, 12.0)}, held=[held(count=20, started=300)]), broker(), None, None,
            id="every slot is busy with long work",
        ),
        pytest.param(
            ledger(queued={"default": (9, 12.0)}, held=[held(count=20, started=300)]),
            broker([process("relay"), process("worker"), process("worker", started=9, seen=11)]), "quiet", "warn",
            id="one of two workers is frozen",
        ),
        pytest.param(
            ledger(queued={"default": (9, 12.0)}, held=[held(started=300)], connected=["worker"]),
            broker([process("relay")]), None, None, id="workers without a heartbeat are busy",
        ),
        pytest.param(ledger(queued={"default": (9, 12.0)}, flow=[flow(last=3)]), broker(), None, None, id="work moves"),
        pytest.param(
            ledger(due={"default": 11.0}, forwarded=12.0), broker(), "not_forwarding", "bad", id="relay stuck"
        ),
        pytest.param(
            ledger(due={"default": 11.0}, forwarded=12.0), broker(depths={"default": WINDOW}), None, None,
            id="the queue is full, the relay rightly waits",
        ),
        pytest.param(ledger(due={"critical": 11.0}), broker(), "backlog", "warn", id="critical is tight"),
        pytest.param(ledger(due={"critical": 31.0}), broker(), "backlog", "bad", id="critical is late"),
        pytest.param(ledger(due={"low": 31.0}), broker(), None, None, id="low alone does not alarm in 30 s"),
        pytest.param(ledger(due={"low": 301.0}), broker(), "backlog", "warn", id="low is lax"),
        pytest.param(ledger(waiting={"low": 42_146}), broker(), "backlog", "warn", id="very many of low"),
        pytest.param(ledger(), broker([process("relay")]), "no_worker", "warn", id="no worker, nothing waits"),
        pytest.param(ledger(queued={"low": (1, 1.0)}), broker([process("relay")]), "no_worker", "bad", id="no worker"),
        pytest.param(ledger(due={"low": 6.0}), broker([process("worker")]), "no_relay", "bad", id="no relay"),
        pytest.param(ledger(connected=["relay", "worker"]), broker([]), None, None, id="Redis was wiped a moment ago"),
        pytest.param(
            ledger(connected=["worker"]), broker([process("relay"), process("worker", seen=11)]), "quiet", "bad",
            id="the only worker frozen",
        ),
        pytest.param(ledger(wiped_at=ago(20)), broker(), "redis_lost", "warn", id="Redis lost its data"),
        pytest.param(ledger(vanished=(2, ago(3_600))), broker(), "vanished", "warn", id="accepted tasks are gone"),
        pytest.param(ledger(gate_is_open=False), broker(), "history", "bad", id="the history is not looked at yet"),
        pytest.param(ledger(), broker(breakers=[BREAKER]), "breaker", "bad", id="open breaker"),
        pytest.param(
            ledger(), broker(breakers=[replace(BREAKER, state="half-opened")]), "breaker", "bad", id="probing breaker"
        ),
        pytest.param(
            ledger(), broker(breakers=[replace(BREAKER, state="half-opened", seconds=30)]), "breaker", "warn",
            id="nobody is trying",
        ),
        pytest.param(
            ledger(), broker(breakers=[replace(BREAKER, state="half-opened", seconds=301)]), None, None,
            id="nobody has tried for long",
        ),
        pytest.param(ledger(), broker(breakers=[replace(BREAKER, seconds=301)]), "breaker", "bad", id="open for long"),
        pytest.param(
            ledger(endings=[Ending("email:send", 5, 50, ago(9))]), broker(), "failures", "warn",
            id="one in eleven fails",
        ),
        pytest.param(
            ledger(endings=[Ending("email:send", 5, 5, ago(9))]), broker(), "failures", "bad",
            id="half fail",
        ),
        pytest.param(
            ledger(endings=[Ending("email:send", 4, 0, ago(9))]), broker(), None, None, id="few failures"
        ),
        pytest.param(ledger(blocked=[blocked()]), broker(), "ordering", "warn", id="a key is held up"),
        pytest.param(ledger(held=[held(expired=2)]), broker(), "expired", "warn", id="expired leases"),
        pytest.param(ledger(totals={"uncertain": 2}), broker(), "uncertain", "warn", id="unknown outcomes"),
        pytest.param(ledger(parked=1), broker(), "parked", "warn", id="parked rows"),
    ],
)  # fmt: skip
def test_each_trouble_has_its_name_and_weight(record: Any, line: Any, code: str | None, level: str | None) -> None:
    assert found(record, line) == ({} if code is None else {code: level})


def test_all_heartbeats_stopping_at_once_is_redis_refusing_writes_not_everyone_frozen() -> None:
    silent = [process(role, seen=12.0 + place) for place, role in enumerate(("api", "relay", "worker"))]
    everyone = ["api", "relay", "worker"]
    assert found(ledger(connected=everyone), broker(silent)) == {"redis_refuses": "bad"}
    assert set(found(ledger(connected=["api"]), broker(silent))) == {"no_relay", "no_worker", "quiet"}  # 整台没了


def test_no_worker_counts_when_the_only_one_is_dead_and_unreplaced() -> None:
    dead = broker([process("relay"), process("worker", seen=20)])
    assert found(ledger(queued={"default": (3, 1.0)}), dead) == {"no_worker": "bad", "quiet": "bad"}
    frozen = ledger(queued={"default": (3, 1.0)}, connected=["worker"])
    assert found(frozen, dead) == {"quiet": "bad"}


@pytest.mark.parametrize(
    ("failed", "done", "level"),
    [
        ((5, 5), (300, 0), Level.BAD),  # 刚断：最近十五秒里全失败
        ((5, 0), (4, 4), Level.BAD),  # 一分钟里过半：刚恢复，还在余波里
        ((20, 4), (180, 60), Level.WARN),
        ((19, 4), (60, 60), None),  # 不多
        ((20, 4), (181, 60), None),  # 不到一成：有几个地址不存在，不是中继病了
        ((4, 4), (0, 0), None),
    ],
)
def test_failing_attempts_are_a_surge_by_share_and_number(
    failed: tuple[int, int], done: tuple[int, int], level: Level | None
) -> None:
    lines = [
        flow("attempt_failed", detail=REASON.stored(), minute=failed[0], moment=failed[1], total=failed[0]),
        flow(minute=done[0], moment=done[1], total=done[0]),
    ]
    assert found(ledger(flow=lines)) == ({} if level is None else {"setbacks": level})


def test_a_surge_names_its_main_reason_and_since_when() -> None:
    lines = [
        flow("attempt_failed", detail=REASON.stored(), minute=226, moment=60, first_at=ago(49)),
        flow("attempt_failed", detail={"reason": "别的"}, minute=3, moment=0, first_at=ago(20)),
    ]
    concern = one(ledger(flow=lines))
    assert (concern.subject, concern.since) == ("email:send", ago(49))
    text = Wording("zh").text(concern)
    assert "100%" in text
    assert f"226 次如：{REASON}" in text


@pytest.mark.parametrize(("ended", "again"), [(8, False), (1, True)])
def test_a_surge_says_whether_its_tasks_come_again_and_shows_one_whole_to_who_may_read_it(
    ended: int, *, again: bool
) -> None:
    replies = [Reason("mail.reply_quoted", {"reply": "550", "count": 3, "words": "no such user"})]
    lines = [
        flow("attempt_failed", detail=Reason("mail.refused", {"replies": replies}).stored(), minute=9, moment=9),
        flow("failed", minute=ended),
    ]
    concern = one(ledger(flow=lines))
    assert ("退避重试" in Wording("zh").advice(concern), "replay" in Wording("en").advice(concern)) == (
        again,
        not again,
    )
    assert "550 × 3: no such user" in Wording("en", quoted=True).text(concern)
    assert "no such user" not in Wording("en").text(concern)


def test_a_backlog_says_which_queue_how_many_how_fast_and_how_long() -> None:
    record = ledger(
        waiting={"low": 42_146}, due={"low": 33.0}, flow=[flow(queue="low", total=1_500, moment=500, span=30.0)]
    )
    concern = one(record)
    assert dict(concern.parameters) == {"queue": "low", "seconds": 33, "count": 42_146, "rate": 50.0, "eta": 843}
    assert Wording("en").text(concern) == (
        "Queue low has a backlog of ≈ 42,146, the oldest waiting 33 s; 50 done per second, about 14 min 3 s to go"
    )


def test_a_backlog_names_the_caller_of_most_of_it_and_nobody_when_it_is_of_many() -> None:
    crowds = [Crowd(2, "bulk", 150, 200), Crowd(1, "some", 100, 200)]
    both = judge(seen(ledger(waiting={"low": 12_000, "default": 12_000}, crowds=crowds), broker()), window=WINDOW)
    said = {concern.subject: Wording("en").text(concern) for concern in both}
    assert said["low"].endswith("; most were handed in by bulk")
    assert "some" not in said["default"]


def test_an_estimate_follows_the_last_seconds_not_the_minutes_before() -> None:
    """五分钟里做了很多、这会儿一个也没做完的，不许说「四秒就好」。"""
    busy_before = [flow(queue="critical", total=600, minute=0, moment=0, last=30.0)]
    stuck = ledger(waiting={"critical": 8}, due={"critical": 12.0}, flow=busy_before, held=[held(count=20, started=60)])
    concern = one(stuck)
    assert (concern.code, concern.parameters["eta"], concern.parameters["rate"]) == ("backlog", None, 0.0)


@pytest.mark.parametrize(
    ("locks", "record", "said"),
    [
        ([lock()], None, {"locked": "bad"}),
        ([lock(blocked=1, seconds=None)], None, {"locked": "bad"}),
        ([lock(blocked=3)], ledger(), {"locked": "bad"}),
        ([lock(blocked=1)], ledger(), {"locked": "warn"}),
        ([lock(blocked=1, seconds=4.0)], ledger(), {}),
        ([lock(blocked=2, seconds=None)], ledger(), {}),
        ([lock(blocked=2, seconds=None, blocking=6.0)], ledger(), {"locked": "warn"}),
        ([], None, {"database": "bad"}),
    ],
)
def test_a_lock_is_told_by_how_much_it_blocks_and_a_passing_one_is_not(
    locks: list[Lock], record: Ledger | None, said: dict[str, str]
) -> None:
    assert {one.code: one.level for one in judge(seen(record, broker(), *locks), window=WINDOW)} == said


def test_a_lock_whose_transaction_is_hidden_is_told_by_how_long_it_blocks() -> None:
    """别的角色的事务从何时起看不到：说的是至少挡了多久，从那时算起。"""
    for known, text, since in (
        (34.0, "its transaction is 34 s old", 34),
        (None, "blocks 5 statements, for at least 12 s", 12),
    ):
        [concern] = judge(seen(ledger(), broker(), lock(seconds=known, blocking=12.0)), window=WINDOW)
        assert text in Wording("en").text(concern)
        assert concern.since == ago(since)


@pytest.mark.parametrize(
    ("record", "line", "code", "since"),
    [
        (ledger(parked=1, totals={"parked_since": ago(3_600)}), broker(), "parked", ago(3_600)),
        (
            ledger(due={"critical": 40.0, "default": 12.0}, forwarded=1.0, held=[held(count=20, started=300)]),
            broker([process("relay"), replace(process("worker"), held={"email:send": 20})]),
            "held",
            ago(40),
        ),
        (ledger(forwarded=90.0), broker([process("worker")]), "no_relay", ago(90)),
        (ledger(forwarded=90.0), broker([process("worker"), process("relay", seen=70)]), "no_relay", ago(70)),
        (ledger(flow=[flow(last=80), flow("failed", last=50)]), broker([process("relay")]), "no_worker", ago(50)),
        (ledger(flow=[flow(last=80)]), broker([process("relay"), process("worker", seen=60)]), "no_worker", ago(60)),
    ],
)
def test_since_when_comes_from_the_data_not_from_who_looked_first(
    record: Ledger, line: Broker, code: str, since: datetime
) -> None:
    """搁置的从最早的一行；占满的从最老的开始等；没有进程的从它最后一次有动静。"""
    [told] = [one for one in judge(seen(record, line), window=WINDOW) if one.code == code]
    assert told.since == since


def test_who_holds_the_slots_is_told_and_the_queues_behind_them_are_not_blamed_on_others() -> None:
    """「20 个槽位占着 20 个，18 个在 sim:status_sync 手里」；还有空槽位的、没有活在等的不说。"""
    busy = replace(process("worker"), held={"sim:status_sync": 18, "email:send": 2})
    late = ledger(due={"critical": 40.0}, forwarded=1.0, held=[held(count=20, started=300)])
    concerns = judge(seen(late, broker([process("relay"), busy])), window=WINDOW)
    assert {one.identity: (one.level, one.because) for one in concerns} == {
        "held:": (Level.BAD, ""),
        "backlog:critical": (Level.BAD, "held:"),
    }
    text = Wording("en").text(next(one for one in concerns if one.code == "held"))
    assert text == "20 of 20 slots are held while work of queue critical waits: sim:status_sync holds 18"
    waits = replace(busy, held={"sim:status_sync": 20}, away={"sim:status_sync": {"control_center": 7, "onelink": 1}})
    [concern, _] = judge(seen(late, broker([process("relay"), waits])), window=WINDOW)
    assert Wording("en").text(concern) == (
        "20 of 20 slots are held while work of queue critical waits: sim:status_sync holds 20;"
        " 7 of that type wait for control_center"
    )
    assert Wording("zh").text(concern).endswith("sim:status_sync 占 20 个；这一种有 7 个在等 control_center")
    free = replace(busy, held={"sim:status_sync": 17, "email:send": 2})
    for worker, record in ((free, late), (busy, ledger())):
        assert "held" not in found(record, broker([process("relay"), worker]))


@pytest.mark.parametrize(
    ("line", "breakers", "said"),
    [
        (Outside("email:send", 8_000, 3.0), [], {"eta": 160, "rate": 50.0}),
        (Outside("control_center/sim:status_sync", 99, 61.0), [], {"eta": None, "rate": 0.0}),
        (Outside("email:send", 99, 59.0), [], None),
        (Outside("onelink/data:sync", 8_000, 90.0), [BREAKER], None),  # 断路器说了
        (Outside("smtp", 8_000, 90.0), [], None),  # 在等它恢复，不是限额
    ],
)
def test_a_backlog_that_our_own_limit_holds_says_so_with_its_forecast(
    line: Outside, breakers: list[OpenBreaker], said: dict[str, Any] | None
) -> None:
    record = ledger(outside=[line], flow=[flow(total=3_000, minute=3_000, moment=500)])
    told = [one for one in judge(seen(record, broker(breakers=breakers)), window=WINDOW) if one.code == "limited"]
    if said is None:
        assert told == []
        return
    [concern] = told
    assert (concern.level, concern.subject) == (Level.WARN, line.whom)
    assert {name: concern.parameters[name] for name in said} == said


@pytest.mark.parametrize(
    ("record", "line", "locks", "causes"),
    [
        pytest.param(
            ledger(due={"default": 200.0}, forwarded=200.0, queued={"default": (9, 60.0)}), broker(), [lock()],
            {"locked:123": "", "not_forwarding:default": "locked:123", "stalled:default": "locked:123",
             "backlog:default": "locked:123"},
            id="a lock",
        ),
        pytest.param(
            ledger(due={"low": 400.0}, forwarded=400.0), broker([process("worker")]), [],
            {"no_relay:": "", "not_forwarding:low": "no_relay:", "backlog:low": "no_relay:"}, id="no relay",
        ),
        pytest.param(
            ledger(queued={"default": (9, 60.0)}, connected=["worker"]),
            broker([process("relay"), process("worker", name="w", seen=30)]), [],
            {"quiet:w": "", "stalled:default": "quiet:w", "backlog:default": "quiet:w"}, id="a frozen worker",
        ),
        pytest.param(
            ledger(
                flow=[
                    flow("attempt_failed", type="data:sync", detail=REASON.stored(), minute=9, moment=9),
                    flow("attempt_failed", detail=REASON.stored(), minute=9, moment=9),
                ]
            ),
            broker(breakers=[BREAKER]), [],
            {"breaker:carrier:onelink": "", "setbacks:data:sync": "breaker:carrier:onelink", "setbacks:email:send": ""},
            id="a carrier is away, mails fail for their own reasons",
        ),
        pytest.param(
            ledger(totals={"uncertain": 1}, parked=1), broker(), [], {"uncertain:": "", "parked:": ""},
            id="two of their own",
        ),
    ],
)  # fmt: skip
def test_consequences_name_their_root_cause_and_others_stand_alone(
    record: Ledger, line: Broker, locks: list[Lock], causes: dict[str, str]
) -> None:
    concerns = judge(seen(record, line, *locks), window=WINDOW)
    assert {one.identity: one.because for one in concerns} == causes


def test_the_one_queue_too_long_to_count_is_sized_by_the_rest() -> None:
    lines = [QueueBacklog(0, 5, 1.0), QueueBacklog(1, 20, 1.0), QueueBacklog(2, COUNT_CAP, 1.0)]
    assert [line.waiting for line in sized(lines, 3, 50_028)] == [5, 20, 50_000]
    assert [line.waiting for line in sized(lines, 3, 0)] == [5, 20, COUNT_CAP]  # 统计还没跟上
    assert sized([lines[2], lines[2]], 0, 90_000) == [lines[2], lines[2]]


@pytest.mark.parametrize("role", ["relay", "worker"])
def test_an_unknown_type_is_counted_by_whichever_process_saw_most(role: str) -> None:
    """relay 不认得它，或 worker 没有处理器。"""
    seen = [replace(process(role, name=name), unknown={"sim:magic": count}) for name, count in (("a", 2), ("b", 3))]
    concern = one(line=broker([*seen, process("relay"), process("worker")]))
    assert (concern.code, concern.subject, concern.parameters["count"]) == ("unknown_type", "sim:magic", 3)


def test_processes_that_hear_no_notifications_are_counted_while_they_live() -> None:
    deaf = [replace(process("relay", name="a"), deaf=True), replace(process("api", name="b"), deaf=True)]
    dead = replace(process("relay", name="c", seen=11), deaf=True)
    concerns = judge(seen(ledger(), broker([*deaf, dead, process("worker")])), window=WINDOW)
    assert [(one.code, one.level, one.parameters) for one in concerns if one.code == "deaf"] == [
        ("deaf", "warn", {"count": 2})
    ]


def test_without_postgresql_nothing_else_is_claimed_and_the_dependency_is_named() -> None:
    concerns = judge(seen(None, broker()), window=WINDOW)
    assert [concern.code for concern in concerns] == [ConcernCode.DATABASE]
    assert Verdict(NOW, concerns, blind=True).level is Level.UNKNOWN


def test_without_redis_the_heartbeats_are_not_missed() -> None:
    concerns = judge(seen(ledger(connected=["relay", "worker"], due={"low": 20.0}, forwarded=60.0), None), window=1)
    assert [concern.code for concern in concerns] == [ConcernCode.REDIS]


def test_a_crash_loop_is_counted_by_host_and_stays_for_minutes() -> None:
    relays = [process("relay", started=start, seen=start - 4) for start in (200.0, 190.0, 180.0, 170.0)]
    relays[-1] = process("relay", started=170.0)
    concern = one(line=broker([*relays, process("worker")]))
    assert (concern.code, concern.level, concern.subject) == ("restarts", Level.BAD, "relay@node-1")
    assert concern.parameters["count"] == 3
    once = [process("relay", started=200.0, seen=196.0), process("relay", started=190.0), process("worker")]
    assert found(line=broker(once)) == {"restarts": Level.WARN}
    long_ago = [process("relay", started=900.0, seen=400.0), process("relay", started=390.0), process("worker")]
    assert found(line=broker(long_ago)) == {}


def test_a_successor_takes_over_the_dead_not_the_frozen_neighbour() -> None:
    frozen = process("worker", name="frozen", started=500.0, seen=100.0)
    dead = process("worker", name="dead", started=500.0, seen=20.0)
    fresh = process("worker", name="fresh", started=18.0)
    other = process("worker", name="other", started=10.0, host="node-2")
    standing = {one.name: one.deaths for one in succeed([fresh, dead, other, frozen])}
    assert standing == {"frozen": (), "fresh": (ago(20.0),), "other": ()}


def test_what_was_said_a_moment_ago_is_said_until_it_has_been_gone_a_while() -> None:
    entries: dict[str, Remembered] = {}
    bad, warn = (Concern(ConcernCode.BACKLOG, level, "default", {"seconds": 1}) for level in (Level.BAD, Level.WARN))

    def said(seconds: float, *current: Concern) -> list[Level]:
        return [concern.level for concern in recall(entries, NOW + timedelta(seconds=seconds), current)]

    assert said(0, bad) == [Level.BAD]
    assert said(1, warn) == [Level.BAD]  # 擦着界限来回，不闪
    assert said(2, bad) == [Level.BAD]
    assert said(3) == [Level.BAD]
    assert said(2 + HOLD, warn) == [Level.BAD]
    assert said(2.5 + HOLD, warn) == [Level.WARN]
    [kept] = recall(entries, NOW + timedelta(seconds=3 + HOLD), [])
    assert kept.since == NOW
    assert said(20 + HOLD) == []
    assert entries == {}
    assert said(3_600, bad) == [Level.BAD]
    assert said(40) == []  # 换了主的 Redis 钟慢一小时：不再说上一小时


def test_a_lock_that_stays_has_blocked_us_since_it_was_first_seen() -> None:
    """我们的语句等一秒就放弃、再来：每一眼只看得到最近的一秒，说的仍是从头一次看见起。"""
    entries: dict[str, Remembered] = {}
    [concern] = judge(seen(ledger(), broker(), lock(seconds=None, blocking=1.0)), window=WINDOW)
    recall(entries, NOW, [concern])
    [kept] = recall(entries, NOW + timedelta(seconds=7), [concern])
    assert (kept.parameters["blocking"], kept.since) == (8, ago(1))


def test_what_a_person_paused_is_said_and_is_no_alarm() -> None:
    """两万个停着的，不是积压，也不是在等限额；判断仍是一切正常。"""
    outside = [Outside(f"pause:{PAUSE.id}", 20_000, 3_600.0)]
    seen_paused = seen(ledger(paused=[PAUSE], outside=outside), broker())
    [concern] = judge(seen_paused, window=WINDOW)
    assert (concern.code, concern.level, concern.subject) == ("paused", Level.OK, str(PAUSE.id))
    assert concern.parameters == {
        "scope": "type", "name": "email:send", "why": "relay host moves", "count": 20_000, "seconds": 1_800,
    }  # fmt: skip
    assert concern.since == PAUSE.created_at
    assert Verdict(NOW, [concern]).level is Level.OK


def test_the_heavier_comes_first() -> None:
    record = ledger(totals={"uncertain": 1}, queued={"default": (9, 50.0)})
    codes = [concern.code for concern in judge(seen(record, broker()), window=WINDOW)]
    assert codes == ["stalled", "backlog", "uncertain"]
