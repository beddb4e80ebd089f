"""弄坏了而协议仍走得出来的历史，哪些说得清（docs/evidence/RELIABILITY.md「历史」）；名单之外的，就是裁判认不出来。"""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos.histories import DOUBLED, MISSING, PARTLY, SWAPPED, Damage, Step
from tests.chaos.recording import CUT

ALONE = {"outbox": "拿走", "intent": "意向", "released": "交还", "cancel": "要求取消", "+sends": "到信"}
DOUBTFUL = "不明的信"  # 这段历史里记过「不明」的，信什么时候到、到几封都说得通
STATUSES = {"queued": "交出", "running": "认领", "pending": "另投"}  # 其余以状态为名
AT_ONCE = "退还"  # 认领的同一步里就交还了：手里已有一个嫌疑
ACCEPTED, RESTAGED, BACK, END = "受理", {"delivery", "outbox"}, "退回", "到头"


@dataclass(frozen=True, slots=True)
class Reason:
    """``kind`` 这样弄坏 ``step``；``others`` 是与它换的（不论先后）、接在它后面的，或少的那一样。"""

    why: str
    kind: str
    step: str
    others: frozenset[str]


def _of(why: str, kind: str, step: str, others: str = "") -> Reason:
    return Reason(why, kind, step, frozenset(others.split(" ")))


ANY = "受理 拿走 交出 认领 退还 意向 交还 要求取消 不明的信 另投 retrying succeeded failed cancelled uncertain"
UNLOCKED = "拿走发件箱行与改任务行的不锁同一行，谁先提交都行；行还在，随后改写它的也算拿走"
ASKED = "人什么时候要求取消都行；到头也没有取消成的，要求过没有看不出"
DOUBT = "「不明」说的就是这个"
UNSENT = "那次没有连上，什么也没寄；没记意向的也会这样"
OVERTAKEN = "等着的又被改投、搁下或定论，先前那一步看不出"
UNTOUCHED = "认领的同时就交还了的，与没有认领过一样"
WIPED = "退回抹去的那一截，有没有这一步看不出；没有抹去什么的，退没退看不出"
REASONS = (
    _of(
        UNLOCKED,
        SWAPPED,
        "拿走",
        "认领 退还 意向 交还 要求取消 到信 不明的信 另投 retrying succeeded failed cancelled uncertain",
    ),
    _of(UNLOCKED, MISSING, "拿走", "认领 退还 意向 交还 要求取消 不明的信 另投 retrying failed uncertain"),
    _of("认领抢先，标记就跳过", MISSING, "交出", "认领 退还 不明的信"),
    _of("认领抢先，标记就跳过", PARTLY, "交出", "status"),
    _of(ASKED, SWAPPED, "要求取消", "意向 交还 到信 不明的信"),
    _of(ASKED, MISSING, "要求取消", "拿走 意向 交还 到信 不明的信 succeeded failed uncertain"),
    _of(DOUBT, SWAPPED, DOUBTFUL, ANY),
    _of(DOUBT, MISSING, DOUBTFUL, f"{ANY} {END}"),
    _of(DOUBT, DOUBLED, DOUBTFUL),
    _of(UNSENT, MISSING, "意向", "拿走 要求取消 不明的信 retrying failed cancelled"),
    _of("交还了的，到期收回时才看得出", MISSING, "交还", "拿走 要求取消 cancelled uncertain"),
    _of("认领了又让位的，与没有认领过一样", MISSING, "认领", "拿走 不明的信 retrying uncertain"),
    _of(UNTOUCHED, MISSING, AT_ONCE, "拿走 要求取消 不明的信 另投 cancelled uncertain"),
    _of("收回而到头的，与持有者自己停下的一样", PARTLY, AT_ONCE, "released"),
    _of(OVERTAKEN, MISSING, "另投", "拿走 不明的信 failed cancelled uncertain"),
    _of(OVERTAKEN, MISSING, "retrying", "拿走 不明的信 failed uncertain"),
    _of(OVERTAKEN, MISSING, "uncertain", "另投 cancelled"),
    _of("停下等人的，人也可以不来", MISSING, "cancelled", f"不明的信 {END}"),
    _of("没有认领过就搁下的，少了搁下只剩拿走", PARTLY, "failed", "status"),
    _of("收回而到头的，与持有者自己停下的一样", PARTLY, "cancelled", "delivery"),
    _of("收回而到头的，与持有者自己停下的一样", PARTLY, "uncertain", "delivery lost"),
    _of("让位不计尝试，重试计；不明的再来与重试只差记号", PARTLY, "retrying", "attempt +marks"),
    _of("再退回同一处，与退了一次一样", DOUBLED, BACK),
    _of(WIPED, SWAPPED, BACK, f"{ANY} {BACK}"),
    _of(WIPED, MISSING, BACK, f"{ANY} {BACK} {END}"),
    *(_of(WIPED, MISSING, one, BACK) for one in ANY.split(" ") if one != ACCEPTED),
    _of(WIPED, PARTLY, BACK, "attempt lost released intent cancel outbox"),
)


def deed(step: Step, *, doubted: bool) -> str:
    """这一步做了什么。"""
    changed = dict(step)
    if CUT in changed:
        return BACK
    if len(changed) == 1 and (name := ALONE.get(step[0][0])):
        return DOUBTFUL if doubted and name == "到信" else name
    if changed.get("status") == "running" and "released" in changed:
        return AT_ONCE
    status = str(changed.get("status", "pending" if changed.keys() == RESTAGED else ""))
    return STATUSES.get(status, status)


def told_of(damage: Damage) -> tuple[str, str]:
    """动的那一步，与另一样。"""
    steps = [deed(one, doubted=damage.doubted) if one else END for one in (damage.step, damage.other)]
    first = ACCEPTED if damage.first else steps[0]
    return first, damage.part if damage.kind == PARTLY else "" if damage.kind == DOUBLED else steps[1]


def explained(damage: Damage) -> bool:
    step, other = told_of(damage)
    pairs = [(step, other), (other, step)] if damage.kind == SWAPPED else [(step, other)]
    return any(
        reason.kind == damage.kind and one == reason.step and another in reason.others
        for reason in REASONS
        for one, another in pairs
    )
