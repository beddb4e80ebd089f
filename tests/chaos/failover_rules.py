"""切换的裁判：提升之后几秒之内，每个进程都又做成了自己的事；丢了尾巴的，丢的是哪些、有没有点名，一个不多、一个不少。"""

from __future__ import annotations

from bisect import bisect_left

from tests.chaos.evidence import Evidence
from tests.chaos.faults import Struck
from tests.chaos.sentinel_faults import TAIL_LOST
from tests.chaos.tail import Lost
from tests.chaos.verdict import MAIL, Verdict

BACK = 5.0  # 秒：目标
SIGNS = {"api": "受理", "worker": "认领", "relay": "交出"}  # 哪种进程，做成了什么才算回来
FORGOTTEN = {"redis_lost_data", "queue_forgot"}  # 重投的缘由：Redis 不认得了
NOTHING_LOST = "尾巴其实没有丢，说明不了什么"
CALLING = "email:send|sim:change"  # 会对外调用的类型：Redis 里记的只是有过一笔
BEFORE = 3.0  # 秒：前一次故障停了这么久，才说得清是谁的后果


def judge_failover(verdict: Verdict, evidence: Evidence) -> None:
    if not evidence.promoted:
        return
    verdict.figures["提升"] = len(evidence.promoted)
    lone = [at for at in evidence.promoted if _lone(at, evidence)]
    verdict.figures["单独的提升"] = len(lone)
    for role, what in SIGNS.items():
        own = {name: sorted(at) for name, at in evidence.signs.items() if name.startswith(role)}
        _comes_back(verdict, own, what, evidence.promoted, lone)
    if evidence.tails:
        _tails(verdict, evidence)


def _comes_back(
    verdict: Verdict, own: dict[str, list[float]], what: str, promoted: list[float], lone: list[float]
) -> None:
    """``own`` 是这种进程各自的时刻：一个也不许少。只判前后没有别的故障的；都写出来。"""
    waits = {at: {name: _first(moments, at) for name, moments in own.items()} for at in promoted}
    for which, moments in (("单独的提升", lone), ("提升", promoted)):
        latest = [wait for at in moments for wait in waits[at].values()]
        if latest:
            verdict.figures[f"{which}之后各进程的首个{what}，最晚（秒）"] = round(max(latest), 2)
    late = [f"{name}：{wait:.2f} 秒" for at in lone for name, wait in waits[at].items() if wait > BACK]
    verdict.rule(f"提升之后 {BACK:g} 秒有进程没有新的{what}", late)


def _first(moments: list[float], at: float) -> float:
    number = bisect_left(moments, at)
    return moments[number] - at if number < len(moments) else float("inf")


def _lone(at: float, evidence: Evidence) -> bool:
    """前后没有别的故障，此后负载也还在：没有人交，就没有什么可做。"""
    return at + BACK < evidence.asked_until and not any(
        strike.at < at + BACK and strike.ended + BEFORE > at
        for strike in evidence.struck
        if not strike.missed and not strike.at <= at <= strike.ended
    )


def _tails(verdict: Verdict, evidence: Evidence) -> None:
    lost = evidence.lost
    answered = {answer for entry in evidence.journal for answer in entry.answers}
    users = {name for tail in evidence.tails for name in tail.users}
    verdict.figures["尾巴里没了的任务"] = len(lost)
    verdict.figures["其中答过 2xx 的（连同用户）"] = len(answered & (lost.keys() | users))
    verdict.figures["尾巴里没了的账本行"] = sum(tail.effects for tail in evidence.tails)
    verdict.figures["退回几步的任务"] = len(evidence.rewound)
    verdict.figures["其中邮件"] = sum(kind == MAIL for kind in evidence.rewound.values())
    missing = sum(not (tail.tasks or tail.rewound) for tail in evidence.tails)
    verdict.rule(NOTHING_LOST, ["一次"] * missing)
    if evidence.vanished is None:
        verdict.rule("丢了的没有一处点名", sorted(lost))
        return
    verdict.figures["点了名的"] = len(evidence.vanished)
    handed = {name for name, one in lost.items() if one.status == "queued"}
    verdict.rule("投递还在而没有点名", sorted(handed - evidence.vanished.keys()))
    verdict.rule("没有丢却说不见了", sorted(evidence.vanished.keys() - lost.keys()))
    wrong = [name for name, told in evidence.vanished.items() if name in lost and not _rightly_named(told, lost[name])]
    verdict.rule("点了名而类型或请求号不对", sorted(wrong))


def _rightly_named(told: tuple[str, str], lost: Lost) -> bool:
    """从投递知道的，类型与请求号都在；从外部调用知道的没有请求号，只知道是会调用的里面的一种。"""
    return told == (lost.type, lost.request_id or "") or (told == (CALLING, "") and lost.type in CALLING.split("|"))


def judge_switches(verdict: Verdict, evidence: Evidence) -> None:
    """经哨兵的切换：断开复制之后才交出、后来 Redis 又不认得的，就是丢在尾巴里的；一个也没有，等于没切。"""
    switches = [strike for strike in evidence.struck if strike.kind == TAIL_LOST and not strike.missed]
    if not switches:
        return
    lost = [_lost_in(strike, evidence) for strike in switches]
    verdict.figures["切换"] = len(switches)
    verdict.figures["其中丢了投递的"] = sum(count > 0 for count in lost)
    verdict.figures["丢在尾巴里、重投了的投递"] = sum(lost)
    verdict.rule(NOTHING_LOST, [] if any(lost) else [f"{len(switches)} 次切换"])


def _lost_in(strike: Struck, evidence: Evidence) -> int:
    forgotten = {
        (note.task_id, note.delivery - 1)
        for note in evidence.notes
        if note.kind == "redriven" and note.cause in FORGOTTEN and note.at >= strike.at
    }
    handed = {
        (history.task_id, int(change.became.split(" ")[1]))
        for history in evidence.histories
        for change in history.changes
        if change.what == "task" and change.became.startswith("queued ") and strike.at <= change.at <= strike.ended
    }
    return len(forgotten & handed)
