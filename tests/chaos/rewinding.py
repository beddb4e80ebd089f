"""PostgreSQL 忘了尾巴：触发器记下的也跟着没了。拿死了的主库记得的接回去，中间插一笔「退回到这些事务」。"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.recording import CUT, Change, Recorded


@dataclass(frozen=True, slots=True)
class Cut:
    """一次提升。``lost`` 是有几步没了的任务：死了的主库记得的历史；``kept`` 是其中新的主库还记得的。"""

    at: float
    lost: Mapping[str, Recorded] = field(default_factory=dict)
    kept: Mapping[str, Recorded] = field(default_factory=dict)


def cut_between(at: float, old: Mapping[str, Recorded], new: Mapping[str, Recorded]) -> Cut:
    lost = {name: history for name, history in old.items() if new.get(name) != history}
    return Cut(at, lost, {name: new[name] for name in lost if name in new})


def relived(histories: Iterable[Recorded], cuts: Sequence[Cut]) -> tuple[list[Recorded], list[Recorded]]:
    """接回去的；与随尾巴没了的任务，到没了的那一刻为止。"""
    left = {history.task_id: history for history in histories}
    gone = {name for cut in cuts for name in cut.lost} - left.keys()
    whole = [Recorded(name, tuple(_joined(name, history.changes, cuts))) for name, history in left.items()]
    return whole, [Recorded(name, tuple(_joined(name, (), cuts))) for name in gone]


def _joined(name: str, final: Sequence[Change], cuts: Sequence[Cut]) -> list[Change]:
    told: dict[Change, Change] = {}  # 事务号在新的主库里会重来：各代换个名字
    joined: list[Change] = []
    standing: set[str] = set()
    last = len(cuts) if final else 1 + max(number for number, cut in enumerate(cuts) if name in cut.lost)

    def go_on(changes: Iterable[Change], generation: int) -> None:
        for change in changes:
            if change not in told:
                told[change] = change._replace(transaction=f"{generation}.{change.transaction}")
                joined.append(told[change])
                standing.add(told[change].transaction)

    for number, cut in enumerate(cuts[:last]):
        lost = ""
        if name in cut.lost:
            go_on(cut.lost[name].changes, number)
            kept = cut.kept[name].changes if name in cut.kept else ()
            standing.intersection_update({told[change].transaction for change in kept})
            lost = "lost"
        else:
            go_on(_before(cut.at, name, final, cuts[number:]), number)
        if standing:
            joined.append(Change(cut.at, f"{CUT} {number}", CUT, lost, " ".join(sorted(standing))))
    go_on(final, last)
    while joined and joined[-1].what == CUT and not joined[-1].was:
        joined.pop()  # 什么也没丢、此后什么也没发生：不必问
    return joined


def _before(at: float, name: str, final: Iterable[Change], later: Iterable[Cut]) -> Iterator[Change]:
    """一步没丢的：那一刻之前的，也许后来才丢。"""
    sources = [cut.lost[name].changes for cut in later if name in cut.lost]
    for changes in (*sources, final):
        yield from (change for change in changes if change.at < at)
