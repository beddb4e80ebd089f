"""历史 → 词：一个事务对一个任务的全部改动合成一步；每一步之后的样子是一个字母。也造弄坏了的：少、重、换。"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from tests.chaos.recording import CUT, SENT, Change, Recorded
from tests.chaos.verdict import MAIL
from tests.model.history import BACK, END, FARTHEST, View, Word

Step: TypeAlias = tuple[tuple[str, Any], ...]  # 一个事务改了的：名字 → 改成什么；``+`` 开头的是加几
COLUMNS = ("status", "delivery", "attempt", "lost", "released", "intent", "cancel")
KEPT = {MAIL, "sim:status_sync"}  # 记账的与寄信的；别的类型没有账可查，成功就算生效
MISSING, DOUBLED, SWAPPED, PARTLY = "少一步", "重一步", "换两步", "一步里少一样"
ARRIVAL = "+sends"  # 记过「不明」的，再到一封说得通
COUNTED = {"effect": "+effects", "mark": "+marks", SENT: ARRIVAL}
SET_BACK = (CUT, "")  # 这一步是退回；样子也许没变


def steps(history: Recorded) -> list[Step]:
    """一步步改了什么；退回到从前也是一步。"""
    history = history.serial()
    here, found = _Walk.of(history), list[Step]()
    begun = 0
    for place, change in enumerate(history.changes):
        if change.what == CUT:
            standing = history.standing(place)
            found += here.through(_as_committed(history.changes[begun:place], standing))
            there = _Walk.of(history)
            list(there.through(standing))
            found.append((*here.differing(there), SET_BACK))
            here, begun = there, place + 1
    return [*found, *here.through(history.changes[begun:])]


def _as_committed(changes: Sequence[Change], standing: Sequence[Change]) -> list[Change]:
    """还在的都先于没了的提交，不论谁先动的手：relay 拿走发件箱行而没提交，worker 已认领。到的信跟着它之前的那一笔。"""
    kept = {change.transaction for change in standing}
    groups: list[list[Change]] = []
    for change in changes:
        if groups and change.what == SENT:
            groups[-1].append(change)
        else:
            groups.append([change])
    groups.sort(key=lambda group: group[0].what != SENT and group[0].transaction not in kept)
    return [change for group in groups for change in group]


@dataclass(slots=True)
class _Walk:
    """走到了哪里。``waiting``：有序而还没轮到，当作发件箱里有它，放行的那一步便什么也没改。"""

    kept: bool  # 生效记在账里；别的，成功就算
    waiting: bool
    last: dict[str, Any] = field(default_factory=lambda: dict.fromkeys((*COLUMNS, "outbox"), 0))
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, history: Recorded) -> _Walk:
        return cls(history.task_type in KEPT, history.ordered)

    def through(self, changes: Sequence[Change]) -> Iterator[Step]:
        """一个事务的位置是它改任务行的时候；只动别的表的，是它最后一次动。"""
        places: dict[str, tuple[bool, int]] = {}
        grouped: dict[str, list[Change]] = {}
        for place, change in enumerate(changes):
            at = (change.what == "task", place)
            places[change.transaction] = max(places.get(change.transaction, (False, -1)), at)
            grouped.setdefault(change.transaction, []).append(change)
        for transaction in sorted(grouped, key=lambda one: places[one][1]):
            step = self._over(grouped[transaction])
            if step:
                yield step

    def _over(self, changes: Sequence[Change]) -> Step:
        last, now, added = self.last, {**self.last}, Counter[str]()
        for change in changes:
            if change.what == "task":
                now.update(zip(COLUMNS, _values(change.became), strict=True))
            elif change.what == "outbox":
                now["outbox"] = int(change.became)
                self.waiting = False
            else:
                added[COUNTED[change.what]] += 1
        if not self.kept and now["status"] == "succeeded" != last["status"]:
            added["+effects"] = 1
        if self.waiting:
            now["outbox"] = now["delivery"] if now["status"] == "pending" else 0
        self.last = now
        self.counts += added
        return (*((name, value) for name, value in now.items() if value != last[name]), *added.items())

    def differing(self, there: _Walk) -> Step:
        """从这里退回到 ``there``：寄出的信不回头，不在其中。"""
        counted = {name: there.counts[name] - self.counts[name] for name in ("+effects", "+marks")}
        return (
            *((name, value) for name, value in there.last.items() if value != self.last[name]),
            *((name, change) for name, change in counted.items() if change),
        )


def _values(seen: str) -> Iterator[Any]:
    status, *numbers = seen.split(" ")
    yield status
    yield from map(int, numbers)


def word(taken: Sequence[Step], *, mail: bool) -> Word:
    """每一步之后的样子，末了是「到此为止」；太长的，到模型数得到的最后一个投递号为止。"""
    view = View(mail=mail, status="", delivery=0)
    letters: list[int] = []
    seen = END
    for step in taken:
        for name, value in step:
            if name == CUT:
                continue
            counted = name.removeprefix("+")
            view = view._replace(**{counted: value if counted == name else getattr(view, counted) + value})
        if max(view.delivery, view.outbox) > FARTHEST:
            return tuple(letters)
        before, seen = seen, view.letter()
        if SET_BACK in step:
            letters.append(BACK)
        if SET_BACK not in step or before != seen:
            letters.append(seen)
    return (*letters, END)


def told(step: Step) -> str:
    """一步的名目：到了什么状态，还动了什么；号码不写，好归类。"""
    return "、".join(f"{name}={value}" if name == "status" else name for name, value in step)


class Damage(NamedTuple):
    """怎样弄坏的。

    Attributes:
        kind: 种类。
        step: 动的那一步；``first``：它是受理。
        other: 接在它后面的那一步，换的就是它；没有是空的。
        part: 少的那一样。
        doubted: 这段历史里记过「不明」。
        is_cut: 这段历史跨过切换。
    """

    kind: str
    step: Step
    other: Step
    first: bool
    doubted: bool
    is_cut: bool
    part: str = ""

    @property
    def place(self) -> str:
        if self.kind == SWAPPED:
            return f"{told(self.step)} ⇄ {told(self.other)}"
        return f"{told(self.step)} 少 {self.part}" if self.part else told(self.step)


def damaged(taken: Sequence[Step]) -> Iterator[tuple[Damage, list[Step]]]:
    """一处一处弄坏：怎样弄坏的，与弄坏之后的。"""
    doubted = any(name == "+marks" for step in taken for name, _ in step)
    is_cut = any(name == CUT for step in taken for name, _ in step)
    for place, step in enumerate(taken):
        before, after = taken[:place], taken[place + 1 :]
        damage = Damage(MISSING, step, after[0] if after else (), place == 0, doubted, is_cut)
        yield damage, [*before, *after]
        yield damage._replace(kind=DOUBLED), [*before, step, step, *after]
        if after:
            yield damage._replace(kind=SWAPPED), [*before, after[0], step, *after[1:]]
        if len(step) > 1:
            for part, (name, _) in enumerate(step):
                yield (
                    damage._replace(kind=PARTLY, part=name),
                    [*before, (*step[:part], *step[part + 1 :]), *after],
                )


def mutants(taken: Sequence[Step]) -> Iterator[tuple[str, str, list[Step]]]:
    """种类，动的是哪一步，与动过之后的。"""
    return ((damage.kind, damage.place, one) for damage, one in damaged(taken))
