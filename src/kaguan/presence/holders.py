"""槽位在谁手里：各 worker 名片上的合在一起。「20 个槽位里 20 个在 sim:status_sync 手里」。"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kaguan.presence.census import Process


@dataclass(frozen=True, slots=True)
class Holder:
    """一种任务：占着几个槽位；占着或让出了的，有几个在等谁（等得多的在前）。"""

    type: str
    held: int
    waiting: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SlotUse:
    """``total`` 个槽位，``held`` 个占着；``holders`` 占得多的在前。"""

    total: int
    held: int
    holders: tuple[Holder, ...]

    @property
    def is_full(self) -> bool:
        return 0 < self.total <= self.held


def slot_use(workers: Iterable[Process]) -> SlotUse:
    """活着的 worker 的；哪些算活着，由看的人定。"""
    total, held, away = 0, Counter[str](), Counter[tuple[str, str]]()
    for worker in workers:
        total += sum(worker.slots.values())
        held.update(worker.held)
        away.update({(name, whom): count for name, inner in worker.away.items() for whom, count in inner.items()})
    holders = []
    for name in {*held, *(kind for kind, _ in away)}:
        waiting = Counter({whom: count for (kind, whom), count in away.items() if kind == name})
        holders.append(Holder(name, held[name], dict(waiting.most_common())))
    holders.sort(key=lambda one: (-one.held, -sum(one.waiting.values()), one.type))
    return SlotUse(total, held.total(), tuple(holders))
