"""轮流跑与比值：同一轮里先我们后对手，机器的起伏两边都挨。"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from kaguan.dev.program import StartError

Measure = Callable[[], Awaitable[float]]


MISSED = "未过底线"


class MeasureError(Exception):
    """量不成：有请求失败、任务没做完、等得太久。这一轮的数不能要。"""


@dataclass(frozen=True, slots=True)
class Target:
    """底线必须过，目标是我们想要的；没写进去的为 None。"""

    floor: float | None = None
    aim: float | None = None
    higher_is_better: bool = True

    def verdict(self, value: float) -> str:
        sign = 1 if self.higher_is_better else -1
        if self.aim is not None and sign * value >= sign * self.aim:
            return "达到目标"
        if self.floor is None:
            return "没有定目标" if self.aim is None else "未到目标"
        return "过底线，未到目标" if sign * value >= sign * self.floor else MISSED


@dataclass(frozen=True, slots=True)
class Result:
    """表里的一行。

    Attributes:
        row: docs/evidence/BENCHMARKS.md 里的序号，``--only`` 用它。
        value: 中位数之比；``unit`` 非空时是带单位的量。
        spread: 逐轮的最小与最大。
        measured: 两边各是多少，给人看的。
    """

    row: int
    what: str
    value: float
    spread: tuple[float, float]
    measured: str
    target: Target
    unit: str = ""

    @property
    def passed(self) -> bool:
        return self.target.verdict(self.value) != MISSED


@dataclass(frozen=True, slots=True)
class Missing:
    """没有量成的一行，与为什么。"""

    row: int
    what: str
    why: str


async def interleave(
    rounds: int, sides: Mapping[str, Measure], failures: dict[str, str] | None = None
) -> dict[str, list[float]]:
    """A B C A B C …：每边 ``rounds`` 个数，机器的起伏大家都挨。

    给了 ``failures``：量不成的一边记在里面，不再轮到它，别的照跑；没给就照样抛出。
    """
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            try:
                if failures is None or name not in failures:
                    figures[name].append(await measure())
            except (MeasureError, StartError) as error:
                if failures is None:
                    raise
                failures[name] = str(error)
    return figures


async def alternate(rounds: int, ours: Measure, rival: Measure) -> tuple[list[float], list[float]]:
    """A B A B …：两边各 ``rounds`` 个数。"""
    figures = await interleave(rounds, {"ours": ours, "rival": rival})
    return figures["ours"], figures["rival"]


def ratio(row: int, what: str, ours: Sequence[float], rival: Sequence[float], unit: str, target: Target) -> Result:
    """两组数的中位数之比；``unit`` 是两组数本身的单位。"""
    each = [a / b for a, b in zip(ours, rival, strict=True)]
    measured = f"{describe(ours)} ÷ {describe(rival)} {unit}"
    return Result(row, what, median(ours) / median(rival), (min(each), max(each)), measured, target)


def at_most(floor: float | None, aim: float | None) -> Target:
    """越小越好的。"""
    return Target(floor, aim, higher_is_better=False)


def absolute(row: int, what: str, figures: Sequence[float], unit: str, target: Target, measured: str = "") -> Result:
    """一组带单位的数：中位数，与最小、最大。"""
    return Result(row, what, median(figures), (min(figures), max(figures)), measured, target, unit)


def describe(figures: Sequence[float]) -> str:
    """中位数（最小–最大）。"""
    return f"{figure(median(figures))}（{figure(min(figures))}–{figure(max(figures))}）"


def figure(value: float) -> str:
    """三位有效数字上下，够比较，不装精确。"""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
