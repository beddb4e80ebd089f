"""一张卡改得了改不了，为什么。"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from kaguan.sims.vocabulary import Carrier, Change, LifecycleState, ReceiptStatus
from kaguan.words.reasons import Reason

# 改成之后是什么状态；换套餐不动状态
TARGETS: Mapping[Change, LifecycleState] = {
    Change.SUSPEND: LifecycleState.SUSPENDED,
    Change.RESUME: LifecycleState.ACTIVE,
    Change.ACTIVATE: LifecycleState.ACTIVE,
}
# 从哪些状态改得了；还不知道状态的，由运营商说
FROM: Mapping[Change, frozenset[LifecycleState]] = {
    Change.SUSPEND: frozenset({LifecycleState.ACTIVE}),
    Change.RESUME: frozenset({LifecycleState.SUSPENDED}),
    Change.ACTIVATE: frozenset({LifecycleState.INVENTORY, LifecycleState.TESTING, LifecycleState.PENDING_ACTIVATION}),
    Change.PLAN: frozenset(LifecycleState) - {LifecycleState.PRE_CANCELLED, LifecycleState.CANCELLED},
}


@dataclass(frozen=True, slots=True)
class Limits:
    """``able``：哪家改得了哪几样；``per_day``：一张卡一个业务日至多改几次。"""

    able: Mapping[Carrier, frozenset[Change]]
    per_day: int


@dataclass(frozen=True, slots=True)
class CardNow:
    """点名的一张卡此刻的样子。

    Attributes:
        id: 不在库的没有，它的 ``carrier``、``lifecycle_state``、``plan`` 也没有。
        behind: 要排在哪个任务后面。
        last_change: 最近一次没有定论的变更，连同它的 ``last_status``、``last_plan``。
        today: 今天已受理几次。
    """

    iccid: str
    id: int | None
    carrier: str | None
    lifecycle_state: str | None
    plan: str | None
    behind: UUID | None
    last_status: str | None
    last_change: str | None
    last_plan: str | None
    today: int


def refusal(card: CardNow, change: Change, plan: str | None, limits: Limits) -> Reason | None:
    """为什么改不了；改得了就是 ``None``。前面还有没做完的，照它做完之后的样子看。"""
    if card.id is None or card.carrier is None or card.lifecycle_state is None:
        return Reason("sims.refused_unknown")
    if change not in limits.able.get(Carrier(card.carrier), frozenset()):
        return Reason("sims.refused_unable", {"carrier": card.carrier, "change": change.value})
    if card.today >= limits.per_day:
        return Reason("sims.refused_quota", {"count": limits.per_day})
    state, current = _expected(card, LifecycleState(card.lifecycle_state))
    if plan is not None and current == plan:
        return Reason("sims.refused_same_plan", {"plan": plan})
    return _unfit(state, change)


def _unfit(state: LifecycleState, change: Change) -> Reason | None:
    if state is TARGETS.get(change):
        return Reason("sims.refused_already", {"state": state.value})
    if state is LifecycleState.UNKNOWN or state in FROM[change]:
        return None
    return Reason("sims.refused_state", {"state": state.value, "change": change.value})


def _expected(card: CardNow, state: LifecycleState) -> tuple[LifecycleState, str | None]:
    """轮到它时的状态与套餐；前面的结局不明，就都不知道。"""
    if card.last_change is None:
        return state, card.plan
    if card.last_status == ReceiptStatus.UNCERTAIN:
        return LifecycleState.UNKNOWN, None
    before = Change(card.last_change)
    return TARGETS.get(before, state), card.last_plan if before is Change.PLAN else card.plan
