"""裁判：每个任务的历史都得是协议走得出来的；弄坏了的得认得出来。判的是模型（tests/model/history.py）。"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeAlias

from tests.chaos.explained import explained, told_of
from tests.chaos.histories import SET_BACK, Damage, Step, damaged, steps, told, word
from tests.chaos.recording import Recorded
from tests.chaos.verdict import Verdict
from tests.model.history import END, Rules, Word, compiled, possible

Shape: TypeAlias = "tuple[bool, tuple[Step, ...]]"  # 寄不寄信，与它的各步
REFUSED = "协议走不出来的历史"
MANY = 1_000  # 会忘了尾巴的，这么多词要搜上千万步
BROKEN, PASSED_OFF = "弄坏的历史：", "其中协议走得出来的："
UNORDERED = "记录接不上的历史"
UNSEEN = "弄坏了却认不出来的历史"


@dataclass(slots=True)
class Opinion:
    """对一批历史的看法。

    Attributes:
        shapes: 不同的形状，各有几个任务。
        gone: 随尾巴没了的任务，几个。
        refused: 协议走不出来的：一个例子的任务号与它的各步。
        unordered: 记录自己接不上的任务。
        tried: 弄坏的种类 → 造了几个。
        passed_off: 走得出来的，弄坏了仍走得出来：怎样弄坏的 → 几个。
    """

    shapes: Counter[Shape] = field(default_factory=Counter)
    gone: int = 0
    refused: list[str] = field(default_factory=list)
    unordered: list[str] = field(default_factory=list)
    tried: Counter[str] = field(default_factory=Counter)
    passed_off: Counter[Damage] = field(default_factory=Counter)


def can_judge() -> bool:
    """装了 Spin 与 C 编译器没有。"""
    return all(shutil.which(program) for program in ("spin", "gcc"))


@cache
def _checker(rules: Rules, level: str) -> tempfile.TemporaryDirectory[str]:
    """编译一次，随进程而去。"""
    directory = tempfile.TemporaryDirectory(prefix="kaguan-history-")
    compiled(rules, Path(directory.name), level)
    return directory


def allowed(words: Iterable[Word], rules: Rules) -> set[Word]:
    """``words`` 里 ``rules`` 之下走得出来的。"""
    wanted = set(words)
    level = "-O2" if rules.forgets and len(wanted) > MANY else "-O0"
    return possible(wanted, Path(_checker(rules, level).name))


def examine(histories: Sequence[Recorded], rules: Rules, gone: Sequence[Recorded] = ()) -> Opinion:
    """``gone`` 是随尾巴没了的：不必走到头。"""
    opinion = Opinion(unordered=[history.task_id for history in histories if history.broken])
    examples: dict[Shape, str] = {}
    for history in histories:
        shape = (history.mail, tuple(steps(history)))
        opinion.shapes[shape] += 1
        examples.setdefault(shape, history.task_id)
    words = {shape: word(shape[1], mail=shape[0]) for shape in examples}
    broken = [
        (damage, mutant, own)
        for shape, own in words.items()
        for damage, taken in damaged(shape[1])
        if _shows(mutant := word(taken, mail=shape[0]), own)
    ]
    permitted = allowed({*words.values(), *(one for _, one, _ in broken)}, rules)
    opinion.refused = [
        f"{task_id}：{' → '.join(map(told, shape[1]))}"
        for shape, task_id in examples.items()
        if words[shape] not in permitted
    ]
    opinion.refused += misfits(gone, rules)
    opinion.gone = len(gone)
    opinion.tried = Counter(damage.kind for damage, *_ in broken)
    opinion.passed_off = Counter(damage for damage, one, own in broken if {one, own} <= permitted)
    return opinion


def _shows(mutant: Word, own: Word) -> bool:
    """弄坏的地方模型数得到；就在数到头的那一步之前的，剩下的只是原来那个词的开头，也看不出来。"""
    return mutant != own and (mutant[-1:] == (END,) or own[: len(mutant)] != mutant)


def misfits(histories: Sequence[Recorded], rules: Rules) -> list[str]:
    """协议走不出来的；没有走到头的也行。"""
    if not histories:
        return []  # 不必为它编译
    words = {history: word(steps(history), mail=history.mail) for history in histories}
    begun = {history: one[:-1] if one[-1:] == (END,) else one for history, one in words.items()}
    permitted = allowed(begun.values(), rules)
    return [
        f"{history.task_id}：{' → '.join(map(told, steps(history)))}"
        for history, one in begun.items()
        if one not in permitted
    ]


def judge_histories(verdict: Verdict, opinion: Opinion) -> None:
    verdict.figures["历史"] = opinion.shapes.total()
    verdict.figures["历史的形状"] = len(opinion.shapes)
    verdict.rule(REFUSED, opinion.refused)
    verdict.rule(UNORDERED, opinion.unordered)
    back = sum(count for (_, taken), count in opinion.shapes.items() if any(SET_BACK in step for step in taken))
    if back or opinion.gone:
        verdict.figures["其中跨过切换的"] = back
        verdict.figures["随尾巴没了的历史"] = opinion.gone
    unseen = [one for one in opinion.passed_off if not explained(one)]
    verdict.rule(UNSEEN, sorted({_told(one) for one in unseen if not one.is_cut}))
    if back:  # 退回从前抹去什么的都有，名单还不全：只报数
        verdict.figures[f"跨过切换的里面，{UNSEEN}"] = sum(one.is_cut for one in unseen)
    for kind, count in opinion.tried.items():
        verdict.figures[BROKEN + kind] = count
        verdict.figures[PASSED_OFF + kind] = sum(
            number for damage, number in opinion.passed_off.items() if damage.kind == kind
        )


def _told(damage: Damage) -> str:
    return f"{damage.kind}：{'，'.join(filter(None, told_of(damage)))}"
