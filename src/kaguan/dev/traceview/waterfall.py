"""瀑布图的排版：父子次序、缩进、条的位置。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kaguan.dev.traceview.decode import details

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaguan.dev.traceview.decode import Details
    from kaguan.dev.traceview.store import StoredSpan, Trace

WIDTH = 1_000  # 条所在坐标系的宽度
MIN_BAR = 2.0  # 再短的跨度也看得见
MAX_DEPTH = 12  # 缩进到此为止；样式表里有同样多的级
MAX_ROWS = 2_000  # 一页至多这么多行
PALETTE = 8  # 样式表里的服务颜色数
TICKS = 4


@dataclass(frozen=True, slots=True)
class Row:
    """一行；``x`` 与 ``width`` 在 0..1000 的坐标系里。"""

    span: StoredSpan
    known: Details
    depth: int
    x: float
    width: float
    color: int


@dataclass(frozen=True, slots=True)
class Waterfall:
    """``hidden`` 是超出一页而没有画出的行数；``ticks`` 为等分点离开始的纳秒，含两端。"""

    rows: tuple[Row, ...]
    hidden: int
    ticks: tuple[int, ...]
    colors: dict[str, int]


def lay_out(trace: Trace) -> Waterfall:
    colors = {service: index % PALETTE for index, service in enumerate(sorted(trace.services))}
    total = max(1, trace.duration_ns)
    rows: list[Row] = []
    for span, depth in _in_order(trace):
        if len(rows) == MAX_ROWS:
            break
        width = max(MIN_BAR, (span.end_ns - span.start_ns) / total * WIDTH)
        x = min((span.start_ns - trace.start_ns) / total * WIDTH, WIDTH - width)
        rows.append(Row(span, details(span), min(depth, MAX_DEPTH), x, width, colors[span.service]))
    ticks = tuple(trace.duration_ns * part // TICKS for part in range(TICKS + 1))
    return Waterfall(tuple(rows), len(trace.spans) - len(rows), ticks, colors)


def _in_order(trace: Trace) -> Iterator[tuple[StoredSpan, int]]:
    """先父后子，同级按开始时间；父级不在（还没到，或在别的系统）的当作根，成环的也不漏。"""
    children: dict[str, list[StoredSpan]] = {}
    for span in sorted(trace.spans.values(), key=lambda one: one.start_ns, reverse=True):
        children.setdefault(span.parent_id if span.parent_id in trace.spans else "", []).append(span)
    seen: set[str] = set()
    stack = [(span, 0) for span in children.get("", [])]
    stack[:0] = [(span, 0) for span in trace.spans.values() if span.parent_id in trace.spans]  # 环里的最后才轮到
    while stack:
        span, depth = stack.pop()
        if span.span_id in seen:
            continue
        seen.add(span.span_id)
        yield span, depth
        stack += [(child, depth + 1) for child in children.get(span.span_id, ())]
