"""产品里停得了什么：类型、运营商写错了名字，当场就说。"""

from __future__ import annotations

from kaguan.outbox.vocabulary import PauseScope, Priority
from kaguan.product.task_types import NAMES
from kaguan.sims.vocabulary import Carrier
from kaguan.words.reasons import Reason

NAMED = {PauseScope.TYPE: NAMES, PauseScope.QUEUE: tuple(Priority), PauseScope.CARRIER: tuple(Carrier)}


def unknown(scope: PauseScope, name: str) -> Reason | None:
    """没有这个名字的；提交者与键谁也列不全，写什么都收。"""
    known = NAMED.get(scope)
    if known is None or name in known:
        return None
    return Reason("outbox.not_pausable", {"name": name, "known": ", ".join(known)})
