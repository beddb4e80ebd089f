"""产品里另定得了哪些限额，配置里各是几；名字写错了，当场就说。"""

from __future__ import annotations

from typing import Any, NamedTuple

from kaguan.config import Settings
from kaguan.outbox.vocabulary import LimitScope
from kaguan.product.task_types import NAMES, TASK_TYPES
from kaguan.sims.vocabulary import Carrier
from kaguan.words.reasons import Reason

NAMED = {LimitScope.TYPE: NAMES, LimitScope.CARRIER: tuple(Carrier)}


class Configured(NamedTuple):
    """没有另定的时候：同时几个，每秒几次；空着就是不管。"""

    at_once: int | None
    per_second: int | None


def unknown(scope: LimitScope, name: str) -> Reason | None:
    """没有这个名字的。"""
    if name in NAMED[scope]:
        return None
    return Reason("outbox.not_pausable", {"name": name, "known": ", ".join(NAMED[scope])})


def configured(settings: Settings, scope: LimitScope, name: str) -> Configured:
    """配置里的；没有这个名字的什么也不管。"""
    if scope == LimitScope.TYPE:
        own = {one.name: one.limit for one in TASK_TYPES}
        return Configured(settings.worker.limits.get(name, own.get(name)), None)
    if name not in NAMED[scope]:
        return Configured(None, None)
    group: Any = getattr(settings.carriers, name)  # 各家的那一组与它同名
    return Configured(group.concurrency, group.per_second)
