"""哪些跨度留下：新跟踪按比例，已在记的往下都记，出了岔子的一律留。OpenTelemetry 的 SDK 在这里。

出岔子分两种。开始时就知道的（重试、重投、重放、对结局不明的邮件作决定）带着 :data:`KEPT` 开始，整条照记。做到一半才
知道的：没被采样的跨度也轻轻记着，结束时失败了的单独送出（:mod:`kaguan.telemetry.unsampled`）。
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from kaguan.telemetry.unsampled import KEPT, Unsampled


class FaultSampler(Sampler):
    """父级定了的照父级，新的根按比例；带着 :data:`KEPT` 的、链接到被采样的跟踪的一律采样；其余不要。

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
        decision = Decision.RECORD_AND_SAMPLE if sampled else Decision.DROP
        return SamplingResult(decision, attributes, parent.trace_state)

    def get_description(self) -> str:
        return f"FaultSampler{{{self._ratio}}}"


class FaultProvider(TracerProvider):
    """采样由 :class:`FaultSampler` 定时，没被采样而出了岔子的跨度也送得出；别的采样器说不要就是不要。"""

    def __init__(self, sampler: Sampler | None, resource: Resource | None = None, **options: Any) -> None:
        self._processors: list[SpanProcessor] = []
        super().__init__(sampler, resource, shutdown_on_exit=False, **options)  # 停机要等多久由我们定

    @property
    def keeps_faults(self) -> bool:
        return isinstance(self.sampler, FaultSampler)

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        self._processors.append(span_processor)
        super().add_span_processor(span_processor)

    def send(self, span: Unsampled, context: SpanContext, ended: int) -> None:
        """没被采样而要留下的，标成被采样的（``context``），交给各处理器。"""
        scope, name, kind, links = span.said
        sent = ReadableSpan(
            name=name,
            context=context,
            parent=span.parent if span.parent.is_valid else None,
            resource=self.resource,
            attributes={KEPT: "error", **span.attributes},
            links=tuple(links or ()),
            kind=kind,
            status=span.status,
            start_time=span.started,
            end_time=ended,
            instrumentation_scope=InstrumentationScope(scope, ""),
        )
        for processor in self._processors:
            processor.on_end(sent)
