"""评：证词里每处多久说出来、说中没有、闪没闪、多久收回。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.drill.faults import Fault
from tests.drill.watching import Sight, Witness

WEIGHT = {"ok": 0, "warn": 1, "bad": 2, "unknown": 2, "silent": 2}
PROMPT = 20.0  # 秒：要在这之内说出缘由


@dataclass(frozen=True, slots=True)
class Score:
    """一处对一个故障。

    Attributes:
        noticed: 几秒后不再说一切正常；None 即始终没有。
        named: 几秒后说中缘由。
        causes: 说中的是哪几件。
        levels: 轻重变过哪几次，从一切正常起。
        flapped: 轻了又重的次数：一次故障该是一起一落。
        cleared: 收场之后几秒不再说那几件；None 即等到头也还在说。
    """

    witness: str
    noticed: float | None
    named: float | None
    causes: tuple[str, ...]
    levels: tuple[str, ...]
    flapped: int
    cleared: float | None

    @property
    def prompt(self) -> bool:
        return self.named is not None and self.named <= PROMPT and self.flapped == 0


def score(fault: Fault, witness: Witness, struck: float, ended: float) -> Score:
    """``struck``、``ended`` 是下手与收场的时刻（单调钟）。"""
    sights = witness.since(struck)
    noticed = next((sight.at - struck for sight in sights if sight.level != "ok"), None)
    named = next((sight.at - struck for sight in sights if sight.codes & fault.causes), None)
    causes = sorted({code for sight in sights for code in sight.codes & fault.causes})
    after = [sight for sight in sights if sight.at >= ended]
    still = [sight.at for sight in after if sight.codes & fault.causes]
    quiet = next((sight.at - ended for sight in after if not still or sight.at > still[-1]), None)
    levels = _changes(sights)
    return Score(witness.name, noticed, named, tuple(causes), levels, flaps(levels), quiet)


def _changes(sights: Sequence[Sight]) -> tuple[str, ...]:
    levels = ["ok"]
    for sight in sights:
        if sight.level != levels[-1]:
            levels.append(sight.level)
    return tuple(levels)


def flaps(levels: Sequence[str]) -> int:
    """轻下去之后又重起来，算一次。"""
    weights = [WEIGHT[level] for level in levels]
    falling, count = False, 0
    for before, after in pairwise(weights):
        if after < before:
            falling = True
        elif after > before and falling:
            count += 1
            falling = False
    return count


def said(seconds: float | None) -> str:
    return "没有" if seconds is None else f"{seconds:.0f} s"


def line(fault: Fault, scored: Score) -> str:
    cells = [
        fault.title,
        scored.witness,
        said(scored.noticed),
        said(scored.named),
        "、".join(scored.causes) or "–",
        str(scored.flapped),
        " → ".join(scored.levels),
        said(scored.cleared),
    ]
    return f"| {' | '.join(cells)} |"


HEAD = "| 故障 | 哪一处 | 察觉 | 说中缘由 | 哪一件 | 闪 | 轻重 | 收场后多久收回 |\n|---|---|---|---|---|---|---|---|"
