"""瀑布图的排版：父子次序、缩进、条的位置。"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

WIDTH = 1_000  # 条所在坐标系的宽度；waterfall.html 里写着同一个数
MIN_BAR = 3.0  # 再短的跨度也看得见
MAX_DEPTH = 12  # 缩进到此为止；waterfall.css 里有同样多的级
PALETTE = 8  # waterfall.css 里的服务颜色数


class Span(Protocol):
    """排版要看的；``parent_id`` 不在同一条里的是根，时刻是 Unix 时间的纳秒。"""

    @property
    def span_id(self) -> str: ...
    @property
    def parent_id(self) -> str: ...
    @property
    def service(self) -> str: ...
    @property
    def start_ns(self) -> int: ...
    @property
    def end_ns(self) -> int: ...


S = TypeVar("S", bound=Span)


@dataclass(frozen=True, slots=True)
class Row(Generic[S]):
    """一行；``x`` 与 ``width`` 在 0..1000 的坐标系里，``after_ns`` 离整条的开始。"""

    span: S
    depth: int
    x: float
    width: float
    color: int
    after_ns: int
    duration_ns: int


@dataclass(frozen=True, slots=True)
class Waterfall(Generic[S]):
    """``hidden`` 是没有画出的行数；``colors`` 是各服务的颜色号。"""

    rows: tuple[Row[S], ...]
    hidden: int
    colors: dict[str, int]
    duration_ns: int


def lay_out(spans: Collection[S], most: int) -> Waterfall[S]:
    """先父后子、同级按开始时间，至多 ``most`` 行；``spans`` 不空，跨度号各不相同。"""
    colors = {service: index % PALETTE for index, service in enumerate(sorted({span.service for span in spans}))}
    begin = min(span.start_ns for span in spans)
    duration = max(span.end_ns for span in spans) - begin
    total = max(1, duration)
    rows: list[Row[S]] = []
    for span, depth in _in_order(spans):
        if len(rows) == most:
            break
        after, took = span.start_ns - begin, span.end_ns - span.start_ns
        width = max(MIN_BAR, took / total * WIDTH)
        x = min(after / total * WIDTH, WIDTH - width)
        rows.append(
            Row(
                span=span,
                depth=min(depth, MAX_DEPTH),
                x=x,
                width=width,
                color=colors[span.service],
                after_ns=after,
                duration_ns=took,
            )
        )
    return Waterfall(tuple(rows), len(spans) - len(rows), colors, duration)


def _in_order(spans: Collection[S]) -> Iterator[tuple[S, int]]:
    """先父后子；父级不在（还没到，或在别的系统）的当作根，成环的也不漏。"""
    known = {span.span_id for span in spans}
    children: dict[str, list[S]] = {}
    for span in sorted(spans, key=lambda one: one.start_ns, reverse=True):
        children.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)
    seen: set[str] = set()
    stack = [(span, 0) for span in spans if span.parent_id in known]  # 环里的最后才轮到
    stack += [(span, 0) for span in children.get("", [])]
    while stack:
        span, depth = stack.pop()
        if span.span_id in seen:
            continue
        seen.add(span.span_id)
        yield span, depth
        stack += [(child, depth + 1) for child in children.get(span.span_id, ())]
