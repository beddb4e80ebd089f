"""哪些跨度留下：新跟踪按比例，已在记的往下都记，出了岔子的一律留。

出岔子分两种。开始时就知道的（重试、重投、重放、对结局不明的邮件作决定）带着 :data:`KEPT` 开始，整条照记。做到一半才
知道的：没被采样的跨度也记（``RECORD_ONLY``，多花几微秒），结束时失败了的由 :class:`FaultProcessor` 单独送出，
它的祖先与成功的兄弟不在。
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TraceFlags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, TraceState
    from opentelemetry.util.types import Attributes

KEPT = "kaguan.trace.kept"  # 不凭比例留下的缘由：retry、redelivery、decision、fenced、error


class FaultSampler(Sampler):
    """父级定了的照父级，新的根按比例；带着 :data:`KEPT` 的、链接到被采样的跟踪的一律采样；其余只记不送。

    Args:
        ratio: 新的根采样的比例，0 到 1；与 SDK 的 ``TraceIdRatioBased`` 同一个判断，各进程一致。
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._bound = TraceIdRatioBased.get_bound_for_rate(ratio)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        del name, kind, trace_state
        parent = trace.get_current_span(parent_context).get_span_context()
        if parent.is_valid:
            sampled = parent.trace_flags.sampled
        else:
            sampled = trace_id & TraceIdRatioBased.TRACE_ID_LIMIT < self._bound
        if not sampled:
            kept = attributes is not None and KEPT in attributes
            sampled = kept or any(link.context.trace_flags.sampled for link in links or ())
        decision = Decision.RECORD_AND_SAMPLE if sampled else Decision.RECORD_ONLY
        return SamplingResult(decision, attributes, parent.trace_state)

    def get_description(self) -> str:
        return f"FaultSampler{{{self._ratio}}}"


class FaultProcessor(SpanProcessor):
    """没被采样的跨度里，失败了的、带着 :data:`KEPT` 的，改成被采样的交给 ``then``；其余没被采样的到此为止。"""

    def __init__(self, then: SpanProcessor) -> None:
        self._then = then

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self._then.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context is None:
            return
        if context.trace_flags.sampled:
            self._then.on_end(span)
        elif span.status.status_code is StatusCode.ERROR:
            self._then.on_end(_sampled(span, context, {KEPT: "error", **(span.attributes or {})}))
        elif KEPT in (span.attributes or {}):
            self._then.on_end(_sampled(span, context, span.attributes))

    def shutdown(self) -> None:
        self._then.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._then.force_flush(timeout_millis)


def _sampled(span: ReadableSpan, context: SpanContext, attributes: Attributes) -> ReadableSpan:
    """同一个跨度，标成被采样的：SDK 的处理器只送这样的。"""
    flags = TraceFlags(context.trace_flags | TraceFlags.SAMPLED)
    return ReadableSpan(
        name=span.name,
        context=SpanContext(context.trace_id, context.span_id, context.is_remote, flags, context.trace_state),
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
