"""历史 → 词：一个事务对一个任务的全部改动合成一步；每一步之后的样子是一个字母。也造弄坏了的：少、重、换。"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from tests.chaos.verdict import MAIL
from tests.model.history import END, FARTHEST, View, Word

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.chaos.recording import Change, Recorded

Step: TypeAlias = tuple[tuple[str, Any], ...]  # 一个事务改了的：名字 → 改成什么；``+`` 开头的是加几
COLUMNS = ("status", "delivery", "attempt", "lost", "released", "intent", "cancel")
KEPT = {MAIL, "sim:status_sync"}  # 记账的与寄信的；别的类型没有账可查，成功就算生效
DOUBLED = "重一步"
ARRIVAL = "+sends"  # 记过「不明」的，再到一封说得通
COUNTED = {"effect": "+effects", "mark": "+marks", "sent": ARRIVAL}


def steps(history: Recorded) -> list[Step]:
    """一步步改了什么。一个事务的位置是它改任务行的时候；只动别的表的，是它最后一次动。"""
    places: dict[str, tuple[bool, int]] = {}
    grouped: dict[str, list[Change]] = {}
    waiting = history.ordered  # 有序而还没轮到的：当作发件箱里有它，放行的那一步便什么也没改
    for place, change in enumerate(history.changes):
        places[change.transaction] = max(places.get(change.transaction, (False, -1)), (change.what == "task", place))
        grouped.setdefault(change.transaction, []).append(change)
    found: list[Step] = []
    last: dict[str, Any] = dict.fromkeys((*COLUMNS, "outbox"), 0)
    for transaction in sorted(grouped, key=lambda one: places[one][1]):
        now, added = {**last}, dict[str, int]()
        for change in grouped[transaction]:
            if change.what == "task":
                now.update(zip(COLUMNS, _values(change.became), strict=True))
            elif change.what == "outbox":
                now["outbox"] = int(change.became)
                waiting = False
            else:
                added[COUNTED[change.what]] = added.get(COUNTED[change.what], 0) + 1
        if history.task_type not in KEPT and now["status"] == "succeeded" != last["status"]:
            added["+effects"] = 1
        if waiting:
            now["outbox"] = now["delivery"] if now["status"] == "pending" else 0
        step = (*((name, value) for name, value in now.items() if value != last[name]), *added.items())
        last = now
        if step:
            found.append(step)
    return found


def _values(seen: str) -> Iterator[Any]:
    status, *numbers = seen.split(" ")
    yield status
    yield from map(int, numbers)


def word(taken: Sequence[Step], *, mail: bool) -> Word:
    """每一步之后的样子，末了是「到此为止」；太长的，到模型数得到的最后一个投递号为止。"""
    view = View(mail=mail, status="", delivery=0)
    letters: list[int] = []
    for step in taken:
        for name, value in step:
            counted = name.removeprefix("+")
            view = view._replace(**{counted: value if counted == name else getattr(view, counted) + value})
        if max(view.delivery, view.outbox) > FARTHEST:
            return tuple(letters)
        letters.append(view.letter())
    return (*letters, END)


def told(step: Step) -> str:
    """一步的名目：到了什么状态，还动了什么；号码不写，好归类。"""
    return "、".join(f"{name}={value}" if name == "status" else name for name, value in step)


def mutants(taken: Sequence[Step]) -> Iterator[tuple[str, str, list[Step]]]:
    """种类，动的是哪一步，与动过之后的。"""
    for place, step in enumerate(taken):
        before, after = taken[:place], taken[place + 1 :]
        yield "少一步", told(step), [*before, *after]
        yield DOUBLED, told(step), [*before, step, step, *after]
        if after:
            yield "换两步", f"{told(step)} ⇄ {told(after[0])}", [*before, after[0], step, *after[1:]]
        if len(step) > 1:
            for part, (name, _) in enumerate(step):
                yield "一步里少一样", f"{told(step)} 少 {name}", [*before, (*step[:part], *step[part + 1 :]), *after]
