"""在内存里找跟踪：页面与 Jaeger 接口用同一套条件。"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kaguan.dev.traceview.decode import details
from kaguan.dev.traceview.store import StoredSpan, Trace, TraceStore
from kaguan.dev.traceview.tags import SYNTHESIZED, span_tags, text_of

MAX_RESULTS = 1_000
ID_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Criteria:
    """条件，给了的都要满足；``service``、``operation``、``tags`` 须在同一个跨度上满足（与 Jaeger 一致）。

    Attributes:
        task_id: 属性 messaging.message.id；链接到这样的跟踪的（relay 的一批）也算。
        errors_only: 只要有出错的跨度的。
        start_ns: 跟踪的开始不早于它；Unix 纳秒。``end_ns``：不晚于它。
        min_ns: 跨度时长的下限，纳秒；``max_ns`` 为上限。
    """

    service: str = ""
    operation: str = ""
    task_id: str = ""
    trace_id: str = ""
    errors_only: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    start_ns: int | None = None
    end_ns: int | None = None
    min_ns: int | None = None
    max_ns: int | None = None

    @property
    def about_spans(self) -> bool:
        return bool(self.operation or self.tags or self.min_ns is not None or self.max_ns is not None)


def full_id(text: str) -> str:
    """Jaeger 允许省去前导零；``text`` 不必已规范。"""
    return text.strip().lower().rjust(ID_DIGITS, "0")


def search(store: TraceStore, criteria: Criteria, limit: int) -> list[Trace]:
    """满足条件的跟踪，新的在前，至多 ``limit`` 条（不超过 1000）。"""
    found: list[Trace] = []
    candidates = _about_task(store, criteria.task_id)
    if criteria.trace_id:
        wanted = full_id(criteria.trace_id)
        candidates = [trace for trace in candidates if trace.id == wanted]
    for trace in sorted(candidates, key=lambda one: one.start_ns, reverse=True):
        if len(found) >= min(limit, MAX_RESULTS):
            break
        if _matches(trace, criteria):
            found.append(trace)
    return found


def _about_task(store: TraceStore, task_id: str) -> list[Trace]:
    """带着这个任务的跟踪，以及链接到它们的；``task_id`` 为空即全部。"""
    if not task_id:
        return list(store.traces.values())
    carrying = {trace.id for trace in store.traces.values() if task_id in trace.tasks}
    return [trace for trace in store.traces.values() if trace.id in carrying or trace.linked & carrying]


def _matches(trace: Trace, criteria: Criteria) -> bool:
    if criteria.service and criteria.service not in trace.services:
        return False
    if criteria.errors_only and not trace.failures:
        return False
    if criteria.start_ns is not None and trace.start_ns < criteria.start_ns:
        return False
    if criteria.end_ns is not None and trace.start_ns > criteria.end_ns:
        return False
    return not criteria.about_spans or any(_span_matches(span, criteria) for span in trace.spans.values())


def _span_matches(span: StoredSpan, criteria: Criteria) -> bool:
    if criteria.service and span.service != criteria.service:
        return False
    if criteria.operation and span.name != criteria.operation:
        return False
    duration = span.end_ns - span.start_ns
    if criteria.min_ns is not None and duration < criteria.min_ns:
        return False
    if criteria.max_ns is not None and duration > criteria.max_ns:
        return False
    return not criteria.tags or _has_tags(span, criteria.tags)


def _has_tags(span: StoredSpan, wanted: Mapping[str, str]) -> bool:
    for key in wanted:  # 先在字节里找键：多数跨度不必解码
        encoded = key.encode()
        if key not in SYNTHESIZED and encoded not in span.content and encoded not in span.resource:
            return False
    known = details(span)
    present = {key: text_of(value) for key, value in (*known.resource.items(), *span_tags(known))}
    return all(present.get(key) == value for key, value in wanted.items())
