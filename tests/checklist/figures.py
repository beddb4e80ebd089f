"""量到的数与它的界线，和写进文档的表。"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

HEADER = "| 行 | 量的 | 界线 | 量到 | 守住 |\n| --- | --- | --- | --- | --- |"


@dataclass(frozen=True, slots=True)
class Bound:
    """界线，给一样：至多、少于、至少。"""

    unit: str
    most: float = math.inf
    under: float = math.inf
    least: float = -math.inf

    def __str__(self) -> str:
        limits = (("≤", self.most), ("<", self.under), ("≥", self.least))
        return "、".join(f"{sign} {limit:g}{self.unit}" for sign, limit in limits if math.isfinite(limit))

    def holds(self, value: float) -> bool:
        return self.least <= value <= self.most and value < self.under


@dataclass(frozen=True, slots=True)
class Figure:
    """``row`` 那一行量到的一个数；没有量成的是 nan，守不住。"""

    row: int
    what: str
    value: float
    bound: Bound

    @property
    def held(self) -> bool:
        return self.bound.holds(self.value)

    def __str__(self) -> str:
        value = "没有量成" if math.isnan(self.value) else f"{self.value:.4g}{self.bound.unit}"
        return f"| **{self.row}** | {self.what} | {self.bound} | {value} | {'是' if self.held else '**否**'} |"


def percentile(values: Sequence[float], share: float) -> float:
    """最近的秩：``share`` 那么大一部分不超过它。"""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def document(figures: Sequence[Figure], where: str) -> str:
    """写进文档的部分：在哪里、哪一次提交量的，与表。"""
    return "\n".join([where, "", HEADER, *map(str, sorted(figures, key=lambda figure: figure.row))])
