"""根由：一件事出了，跟着出的几件只是它的样子。说在它下面，看的人先去办根由。

只认说得清的：后果的队列、种类与根由对得上才算；对不上的照样单独说。
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kaguan.breakers.board import BreakerKind
from kaguan.mail.task import EMAIL_SEND
from kaguan.sims.tasks import DATA_SYNC, SIM_STATUS_SYNC
from kaguan.verdict.model import Concern, ConcernCode, Level

STANDSTILL = frozenset({ConcernCode.NOT_FORWARDING, ConcernCode.STALLED, ConcernCode.BACKLOG})
TROUBLE = STANDSTILL | {ConcernCode.SETBACKS, ConcernCode.FAILURES, ConcernCode.EXPIRED}
# 一个环节不在了、冻住了、反复崩溃，跟着停下的
WITHOUT = {
    "relay": frozenset({ConcernCode.NOT_FORWARDING, ConcernCode.BACKLOG}),
    "worker": frozenset({ConcernCode.STALLED, ConcernCode.BACKLOG, ConcernCode.EXPIRED, ConcernCode.NOT_FORWARDING}),
}
FOLLOWING = {
    **dict.fromkeys(
        (
            ConcernCode.LOCKED,
            ConcernCode.DATABASE,
            ConcernCode.REDIS,
            ConcernCode.REDIS_REFUSES,
            ConcernCode.HISTORY,
        ),
        TROUBLE,
    ),
    ConcernCode.NO_RELAY: WITHOUT["relay"],
    ConcernCode.NO_WORKER: WITHOUT["worker"],
    ConcernCode.HELD: STANDSTILL,
}
CALLING = {
    BreakerKind.SMTP: frozenset({EMAIL_SEND.name}),
    BreakerKind.CARRIER: frozenset({DATA_SYNC.name, SIM_STATUS_SYNC.name}),
}


def explained(concerns: Sequence[Concern]) -> list[Concern]:
    """同样的几件、同样的次序；是后果的说出因为哪一件。"""
    return [replace(one, because=_cause(one, concerns)) for one in concerns]


def rooted(concerns: Sequence[Concern]) -> list[tuple[Concern, list[Concern]]]:
    """每个根由与它的后果，有坏事的在前；比收起来的根由更重的后果自己说。"""
    known = {one.identity: one for one in concerns}

    def root_of(one: Concern) -> Concern:
        root = known.get(one.because, one)
        return one if root.acknowledged and not one.acknowledged else root

    groups = [
        (root, [one for one in concerns if one is not root and root_of(one) is root])
        for root in concerns
        if root_of(root) is root
    ]
    return sorted(groups, key=lambda group: not is_heavy(*group))


def is_heavy(root: Concern, follows: Sequence[Concern]) -> bool:
    """根由与它最重的后果一样重。"""
    return Level.BAD in {root.level, *(one.level for one in follows if one.acknowledged is None)}


def _cause(one: Concern, concerns: Sequence[Concern]) -> str:
    """排在最前（最重）的那个根由；根由自己不再有根由，因此不会绕成圈。"""
    found = (other for other in concerns if other is not one and _brings_about(other, one))
    return next((other.identity for other in found), "")


def _brings_about(cause: Concern, effect: Concern) -> bool:
    match cause.code:
        case ConcernCode.LOCKED if cause.level is not Level.BAD:
            return False
        case ConcernCode.QUIET | ConcernCode.RESTARTS if cause.level is Level.BAD:
            return effect.code in WITHOUT.get(str(cause.parameters["role"]), ())
        case ConcernCode.BREAKER:
            types = CALLING.get(BreakerKind(str(cause.parameters["kind"])), frozenset())
            return effect.code in {ConcernCode.SETBACKS, ConcernCode.FAILURES} and effect.subject in types
        case code:
            return effect.code in FOLLOWING.get(code, ())
