"""服务端画的小图：折线与面积，写成 SVG 路径，没有脚本也看得见。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 240.0, 48.0
PADDING = 2.0


@dataclass(frozen=True, slots=True)
class Sparkline:
    """``line`` 是折线，``area`` 是线下的面积；坐标系 240 × 48。"""

    line: str
    area: str
    top: float


def sparkline(values: Sequence[float], top: float | None = None) -> Sparkline:
    """从左到右的一串值；``top`` 是纵轴的上端，不给就取最大值。"""
    ceiling = max(top if top is not None else max(values, default=0.0), 1e-9)
    if not values:
        return Sparkline("", "", 0.0)
    step = (WIDTH - 2 * PADDING) / max(1, len(values) - 1)
    usable = HEIGHT - 2 * PADDING
    points = [
        (PADDING + index * step, HEIGHT - PADDING - min(value, ceiling) / ceiling * usable)
        for index, value in enumerate(values)
    ]
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    area = f"{line}L{points[-1][0]:.1f} {HEIGHT:.0f}L{points[0][0]:.1f} {HEIGHT:.0f}Z"
    return Sparkline(line, area, ceiling)
