"""哪些跨度留下：新跟踪按比例，已在记的往下都记，出了岔子的一律留。OpenTelemetry 的 SDK 在这里。

出岔子分两种。开始时就知道的（重试、重投、重放、对结局不明的邮件作决定）带着 :data:`KEPT` 开始，整条照记。做到一半才
知道的：没被采样的跨度也轻轻记着，结束时失败了的单独送出。
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from functools import lru_cache
from time import time_ns
from typing import Any, cast

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.util.types import AnyValue, Attributes

from kaguan.telemetry.unsampled import KEPT, Opening

FLAGS = tuple(map(TraceFlags, range(4)))


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
        sampled = self.samples(parent, trace_id, attributes, links)
        decision = Decision.RECORD_AND_SAMPLE if sampled else Decision.DROP
        return SamplingResult(decision, attributes, parent.trace_state)

    def samples(self, parent: SpanContext, trace_id: int, attributes: Attributes, links: Sequence[Link] | None) -> bool:
        """同一个判断，答案只有要与不要。"""
        if parent.trace_flags & TraceFlags.SAMPLED if parent.is_valid else self.takes(trace_id):
            return True
        if attributes is not None and KEPT in attributes:
            return True
        return any(link.context.trace_flags & TraceFlags.SAMPLED for link in links or ())

    def takes(self, trace_id: int) -> bool:
        """新的根。"""
        return trace_id & TraceIdRatioBased.TRACE_ID_LIMIT < self._bound

    def get_description(self) -> str:
        return f"FaultSampler{{{self._ratio}}}"


class LightSpan(ReadableSpan, Span):
    """一个跨度，只备着要送出的；被采样的送出，没被采样而失败了的、带着 :data:`KEPT` 的标成被采样的送出。

    它就是处理器要的 ``ReadableSpan``。SDK 自己的要贵十倍：锁、逐个核对的属性表、送出之前再抄一份；没有它的事件与异常，
    里面跑别人的代码的跨度不用它。
    """

    def __init__(self, identity: SpanContext, parent: SpanContext, opening: Opening, provider: FaultProvider) -> None:
        super().__init__(
            opening.name,
            parent=parent if parent.is_valid else None,
            resource=provider.resource,
            links=opening.links or (),
            kind=opening.kind,
            start_time=opening.began or time_ns(),
            instrumentation_scope=_scope(opening.scope),
        )
        self._context = identity
        self._attributes: MutableMapping[str, AnyValue] = dict(opening.attributes) if opening.attributes else {}
        self._provider = provider

    def get_span_context(self) -> SpanContext:
        return cast("SpanContext", self._context)

    def is_recording(self) -> bool:
        return self._end_time is None

    def set_attribute(self, key: str, value: AnyValue) -> None:
        if self._end_time is None:  # 送出了的，导出的线程正看着
            self._attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        if self._end_time is None:
            self._attributes.update(attributes)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._status = status if isinstance(status, Status) else Status(status, description)

    def update_name(self, *_said: Any) -> None:
        """不改：开时就定了。"""

    def add_event(self, *_said: Any, **_named: Any) -> None:
        """不记。"""

    def record_exception(self, *_said: Any, **_named: Any) -> None:
        """不记：异常的消息里可能有个人信息。"""

    def end(self, end_time: int | None = None) -> None:
        if self._end_time is not None:
            return
        self._end_time = time_ns() if end_time is None else end_time
        identity = self.get_span_context()
        if not identity.trace_flags & TraceFlags.SAMPLED:
            if self._status.status_code is not StatusCode.ERROR and KEPT not in self._attributes:
                return
            self._attributes.setdefault(KEPT, "error")
            flags = TraceFlags(identity.trace_flags | TraceFlags.SAMPLED)
            self._context = SpanContext(
                identity.trace_id,
                identity.span_id,
                is_remote=False,
                trace_flags=flags,
                trace_state=identity.trace_state,
            )
        self._provider.send(self)

    @property
    def is_plain(self) -> bool:
        """没有截短过的，也没有别人的跟踪状态、失败的说明。"""
        whole = isinstance(self._attributes, dict) and not isinstance(self._links, BoundedList)
        return whole and not self.get_span_context().trace_state and self._status.description is None

    def bound(self, limits: SpanLimits) -> None:
        """照 ``OTEL_*_LIMIT`` 截短；没有设的，我们的从来到不了上限。"""
        most, longest = limits.max_span_attributes, limits.max_span_attribute_length
        if longest is not None or (most is not None and len(self._attributes) > most):
            self._attributes = BoundedAttributes(most, self._attributes, max_value_len=longest)
        if limits.max_links is not None and len(self._links) > limits.max_links:
            self._links = BoundedList.from_seq(limits.max_links, self._links)


@lru_cache
def _scope(name: str) -> InstrumentationScope:
    return InstrumentationScope(name, "")


class FaultProvider(TracerProvider):
    """采样由 :class:`FaultSampler` 定时，跨度是轻的，没被采样而出了岔子的也送得出；别的采样器说不要就是不要。"""

    def __init__(
        self,
        sampler: Sampler | None,
        resource: Resource | None = None,
        span_limits: SpanLimits | None = None,
    ) -> None:
        self._processors: list[SpanProcessor] = []
        self._limits = span_limits or SpanLimits()
        super().__init__(sampler, resource, shutdown_on_exit=False, span_limits=self._limits)  # 停机要等多久由我们定

    @property
    def faults(self) -> FaultSampler | None:
        return self.sampler if isinstance(self.sampler, FaultSampler) else None

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        self._processors.append(span_processor)
        super().add_span_processor(span_processor)

    def light(self, parent: SpanContext, opening: Opening, identity: SpanContext | None) -> LightSpan:
        """开一个轻的；没给号就照 SDK 的规矩现编。"""
        if identity is None:
            identity = self._identity(parent, opening)
        return LightSpan(identity, parent, opening, self)

    def _identity(self, parent: SpanContext, opening: Opening) -> SpanContext:
        ids, faults = self.id_generator, self.faults
        if parent.is_valid:
            trace_id, flags = parent.trace_id, parent.trace_flags & TraceFlags.RANDOM_TRACE_ID
        else:
            trace_id = ids.generate_trace_id()
            flags = TraceFlags.RANDOM_TRACE_ID if ids.is_trace_id_random() else TraceFlags.DEFAULT
        if faults is not None and faults.samples(parent, trace_id, opening.attributes, opening.links):
            flags |= TraceFlags.SAMPLED
        return SpanContext(
            trace_id, ids.generate_span_id(), is_remote=False, trace_flags=FLAGS[flags], trace_state=parent.trace_state
        )

    def send(self, span: LightSpan) -> None:
        """送给各处理器。"""
        span.bound(self._limits)
        for processor in self._processors:
            processor.on_end(span)
