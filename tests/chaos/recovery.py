"""每次故障之后多久恢复。两个口径，都从故障结束那一刻量起。"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.chaos.evidence import TaskFact
from tests.chaos.faults import Struck
from tests.chaos.stage import LEASE
from tests.chaos.watch import FRESH, Sample

HORIZON = LEASE + 3.0  # 秒：故障的后果至迟这么久之后看得见


@dataclass(frozen=True, slots=True)
class Recovery:
    """一次故障的恢复，单位秒；None 是没有等到。

    Attributes:
        first_effect: 故障开始之后受理的任务里，最先生效的那个；故障还没结束就生效了的是 0。
        fresh: 最老的、没人做的任务回到 ``FRESH`` 秒以内。
        alone: 从下手到恢复，没有别的故障插进来。
        redriven: 从这次下手到下一次下手之间的重投，各原因几次。
    """

    strike: Struck
    first_effect: float | None
    fresh: float | None
    alone: bool
    redriven: dict[str, int]


def recoveries(
    struck: Sequence[Struck],
    tasks: Sequence[TaskFact],
    samples: Sequence[Sample],
    redrives: Sequence[tuple[float, str]],
) -> list[Recovery]:
    ordered = sorted(struck, key=lambda strike: strike.at)
    starts = [strike.at for strike in ordered]
    effects = _earliest_effects(tasks)
    caused: list[dict[str, int]] = [{} for _ in ordered]
    for at, cause in redrives:
        number = bisect_left(starts, at) - 1
        if number >= 0:
            caused[number][cause] = caused[number].get(cause, 0) + 1
    found = []
    for number, strike in enumerate(ordered):
        others = [other for other in ordered if other is not strike]
        following = min((other.at for other in others if other.at >= strike.at), default=math.inf)
        fresh = _fresh(samples, strike.ended, min(strike.ended + HORIZON, following))
        until = strike.ended + (fresh or 0.0)
        alone = not any(other.at <= until and other.ended + FRESH >= strike.at for other in others)
        found.append(Recovery(strike, _first_effect(effects, strike), fresh, alone, caused[number]))
    return found


def _earliest_effects(tasks: Sequence[TaskFact]) -> tuple[list[float], list[float]]:
    """受理时刻，升序；与每一个及其后受理的任务里最早的生效时刻。"""
    done = sorted((task.created, task.finished) for task in tasks if task.finished and task.status == "succeeded")
    accepted = [created for created, _ in done]
    earliest = [finished for _, finished in done]
    for number in range(len(earliest) - 2, -1, -1):
        earliest[number] = min(earliest[number], earliest[number + 1])
    return accepted, earliest


def _first_effect(effects: tuple[list[float], list[float]], strike: Struck) -> float | None:
    accepted, earliest = effects
    number = bisect_left(accepted, strike.at)
    return None if number == len(accepted) else max(0.0, earliest[number] - strike.ended)


def _fresh(samples: Sequence[Sample], ended: float, horizon: float) -> float | None:
    """故障结束到最后一段「不新鲜」结束；那一段须在 ``horizon`` 之前开始（SIGKILL 的后果要等租约到期才看得见）。"""
    recovered, stale = 0.0, False
    for sample in samples[bisect_left([sample.at for sample in samples], ended) :]:
        if sample.at > horizon and not stale:
            break
        fresh = sample.oldest is not None and sample.oldest < FRESH
        if fresh and stale:
            recovered = sample.at - ended
        stale = not fresh
    return None if stale else recovered


@dataclass(frozen=True, slots=True)
class Row:
    """一种故障的小结。``first_effect`` 与 ``fresh`` 是（中位，最长），None 是没有单独的一次可量。"""

    kind: str
    count: int
    missed: int
    alone: int
    first_effect: tuple[float, float] | None
    fresh: tuple[float, float] | None
    redriven: int


def rows(found: Sequence[Recovery]) -> list[Row]:
    """按种类小结；用时只数没有别的故障插进来、且打中了的那些次。"""
    kinds = sorted({recovery.strike.kind for recovery in found})
    summary = []
    for kind in kinds:
        mine = [recovery for recovery in found if recovery.strike.kind == kind]
        clean = [recovery for recovery in mine if recovery.alone and not recovery.strike.missed]
        summary.append(
            Row(
                kind,
                len(mine),
                sum(bool(recovery.strike.missed) for recovery in mine),
                len(clean),
                _spread([recovery.first_effect for recovery in clean]),
                _spread([recovery.fresh for recovery in clean]),
                sum(sum(recovery.redriven.values()) for recovery in mine),
            )
        )
    return summary


def _spread(values: Sequence[float | None]) -> tuple[float, float] | None:
    known = [value for value in values if value is not None]
    return (median(known), max(known)) if known else None
