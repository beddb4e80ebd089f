"""内存里最近的跟踪：条数、跨度数、字节数都有上限，满了丢最先到的那一条；出过岔子的另放，平常的先让位。

跨度按线上的字节存放，查看时才解码：接收一批只花几毫秒，占用也算得清。
"""

from __future__ import annotations

import time
from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kaguan.words.units import MIB

SPAN_OVERHEAD = 512  # 字节；一个跨度在内容之外的对象与索引
LINK_OVERHEAD = 150  # 字节；每条链接解出来的跟踪号、任务号与它们的位置
SHARE_OF_ONE_TRACE = 10  # 一条跟踪至多占跨度总数的几分之一
SHARE_OF_KEPT = 2  # 出过岔子的至多占几分之一：再多，就从它们里面让位


@dataclass(frozen=True, slots=True)
class Limits:
    """上限，一个都不能超。"""

    traces: int = 5_000
    spans: int = 100_000
    bytes: int = 96 * MIB

    @property
    def spans_per_trace(self) -> int:
        return max(1, self.spans // SHARE_OF_ONE_TRACE)


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """一个收下的跨度。

    Attributes:
        trace_id: 32 位十六进制。
        span_id: 16 位十六进制。
        parent_id: 同上；根为空串。
        start_ns: 纳秒，Unix 时间；``end_ns`` 同。
        kept: 出了岔子：失败了，或带着 kaguan.trace.kept（重试、重投、丢了租约、人的决定）。
        tasks: 它带着的任务号（messaging.message.id）。
        linked: 它链接到的跟踪号。
        content: opentelemetry.proto.trace.v1.Span 的字节。
        resource: opentelemetry.proto.resource.v1.Resource 的字节，同批共享。
        scope: opentelemetry.proto.common.v1.InstrumentationScope 的字节，同批共享。
        size: 记在它账上的字节数。
    """

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    start_ns: int
    end_ns: int
    failed: bool
    kept: bool
    tasks: tuple[str, ...]
    linked: tuple[str, ...]
    content: bytes
    resource: bytes
    scope: bytes
    size: int


@dataclass(slots=True)
class Trace:
    """一条跟踪里已收到的跨度；``arrived_ns`` 是头一个何时到的，``dropped`` 是超出单条上限而没有留下的个数。"""

    id: str
    spans: dict[str, StoredSpan] = field(default_factory=dict)
    services: dict[str, int] = field(default_factory=dict)
    tasks: set[str] = field(default_factory=set)
    linked: set[str] = field(default_factory=set)
    start_ns: int = 0
    end_ns: int = 0
    failures: int = 0
    size: int = 0
    dropped: int = 0
    arrived_ns: int = field(default_factory=time.time_ns)

    @property
    def duration_ns(self) -> int:
        return self.end_ns - self.start_ns

    @property
    def root(self) -> StoredSpan:
        """最早的、父级不在这里的跨度。"""
        tops = [span for span in self.spans.values() if span.parent_id not in self.spans]
        return min(tops or self.spans.values(), key=lambda span: span.start_ns)

    def add(self, span: StoredSpan) -> None:
        first = not self.spans
        self.spans[span.span_id] = span
        self.services[span.service] = self.services.get(span.service, 0) + 1
        self.tasks.update(span.tasks)
        self.linked.update(span.linked)
        self.start_ns = span.start_ns if first else min(self.start_ns, span.start_ns)
        self.end_ns = span.end_ns if first else max(self.end_ns, span.end_ns)
        self.failures += span.failed
        self.size += span.size


@dataclass(slots=True)
class _Shelf:
    """一处放着的跟踪，按放上来的次序。"""

    traces: dict[str, Trace] = field(default_factory=dict)
    spans: int = 0
    bytes: int = 0

    def put(self, trace: Trace) -> None:
        self.traces[trace.id] = trace
        self.spans += len(trace.spans)
        self.bytes += trace.size

    def take(self, trace_id: str) -> Trace:
        trace = self.traces.pop(trace_id)
        self.spans -= len(trace.spans)
        self.bytes -= trace.size
        return trace

    def add(self, trace: Trace, span: StoredSpan) -> None:
        trace.add(span)
        self.spans += 1
        self.bytes += span.size


class TraceStore:
    """最近的跟踪，按到达次序。

    Attributes:
        received: 累计收到的跨度。
        evicted: 累计让位的跟踪。
        since_ns: 在这之后头一次到的，一条也没有让位；Unix 纳秒。
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.received = 0
        self.evicted = 0
        self.since_ns = time.time_ns()
        self._plain, self._kept = _Shelf(), _Shelf()
        self._traces = ChainMap(self._plain.traces, self._kept.traces)

    @property
    def traces(self) -> Mapping[str, Trace]:
        return self._traces

    @property
    def spans(self) -> int:
        return self._plain.spans + self._kept.spans

    @property
    def bytes(self) -> int:
        return self._plain.bytes + self._kept.bytes

    def add(self, spans: Iterable[StoredSpan]) -> None:
        """收下一批；重发的跨度只留一份。"""
        for span in spans:
            self.received += 1
            trace = self._traces.get(span.trace_id)
            if trace is None:
                trace = Trace(span.trace_id)
                self._plain.put(trace)
            elif span.span_id in trace.spans:
                continue
            if len(trace.spans) >= self.limits.spans_per_trace:
                trace.dropped += 1
                continue
            if span.kept and trace.id in self._plain.traces:
                self._kept.put(self._plain.take(trace.id))
            shelf = self._plain if trace.id in self._plain.traces else self._kept
            shelf.add(trace, span)
            self._make_room()

    def linking_to(self, trace_id: str) -> list[Trace]:
        """有跨度链接到 ``trace_id`` 的其他跟踪。"""
        return [trace for trace in self._traces.values() if trace_id in trace.linked and trace.id != trace_id]

    def operations(self) -> dict[str, set[str]]:
        """服务 → 出现过的跨度名。"""
        found: dict[str, set[str]] = {}
        for trace in self._traces.values():
            for span in trace.spans.values():
                found.setdefault(span.service, set()).add(span.name)
        return found

    def services(self) -> list[str]:
        return sorted({service for trace in self._traces.values() for service in trace.services})

    def _make_room(self) -> None:
        while self._traces and self._exceeds(len(self._traces), self.spans, self.bytes):
            kept = self._kept
            crowded = self._exceeds(len(kept.traces), kept.spans, kept.bytes, SHARE_OF_KEPT)
            shelf = kept if crowded or not self._plain.traces else self._plain
            oldest = shelf.take(next(iter(shelf.traces)))
            self.since_ns = max(self.since_ns, oldest.arrived_ns)
            self.evicted += 1

    def _exceeds(self, traces: int, spans: int, size: int, share: int = 1) -> bool:
        limits = self.limits
        return traces * share > limits.traces or spans * share > limits.spans or size * share > limits.bytes
