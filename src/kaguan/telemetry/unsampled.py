"""没被采样的跨度：轻轻记着，失败了的、带着 :data:`KEPT` 的才送出，它的祖先与成功的兄弟不在。

SDK 也能记（``RECORD_ONLY``），却要一个请求的百分之八：跨度、带锁的属性表与处理器都照被采样的备齐，十个里有九个扔掉。
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import time_ns
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import Attributes, AttributeValue

from kaguan.telemetry.sampling import KEPT, FaultSampler

SOUND = Status(StatusCode.UNSET)


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

    def send(self, span: ReadableSpan) -> None:
        """一个结束了的、标成被采样的跨度，交给各处理器。"""
        for processor in self._processors:
            processor.on_end(span)


class Spans:
    """开跨度的地方，一个作用域一份；``provider`` 不给就是本进程的，随时可以设。"""

    def __init__(self, scope: str, provider: FaultProvider | None = None) -> None:
        self._tracer = trace.get_tracer(scope, tracer_provider=provider)
        self._provider = provider
        self.scope = InstrumentationScope(scope, "")

    def start(
        self,
        name: str,
        context: Context | None,
        kind: SpanKind,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
    ) -> Span:
        """开一个，不设为当前。"""
        span = self._tracer.start_span(name, context, kind, attributes, links)
        if span.is_recording():
            return span
        provider = self._provider or trace.get_tracer_provider()
        if not (isinstance(provider, FaultProvider) and provider.keeps_faults):
            return span
        parent = trace.get_current_span(context).get_span_context()
        return Unsampled(span.get_span_context(), parent, provider, (self.scope, name, kind, links), attributes)


class Unsampled(NonRecordingSpan):
    """一个没被采样的跨度。

    Attributes:
        attributes: 设下的属性。
    """

    def __init__(
        self,
        context: SpanContext,
        parent: SpanContext,
        provider: FaultProvider,
        said: tuple[InstrumentationScope, str, SpanKind, Sequence[Link] | None],
        attributes: Attributes,
    ) -> None:
        super().__init__(context)
        self._parent, self._provider, self._said = parent, provider, said
        self.attributes: dict[str, AttributeValue] = dict(attributes) if attributes else {}
        self._started = time_ns()
        self._status = SOUND
        self._ended = False

    def is_recording(self) -> bool:
        return not self._ended

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        self.attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        self.attributes |= attributes

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._status = status if isinstance(status, Status) else Status(status, description)

    def end(self, end_time: int | None = None) -> None:
        """失败了的、带着 :data:`KEPT` 的标成被采样的送出：SDK 的处理器只送这样的。"""
        was_ended, self._ended = self._ended, True
        if was_ended or (self._status.status_code is not StatusCode.ERROR and KEPT not in self.attributes):
            return
        identity = self.get_span_context()
        flags = TraceFlags(identity.trace_flags | TraceFlags.SAMPLED)
        context = SpanContext(
            identity.trace_id, identity.span_id, is_remote=False, trace_flags=flags, trace_state=identity.trace_state
        )
        scope, name, kind, links = self._said
        self._provider.send(
            ReadableSpan(
                name=name,
                context=context,
                parent=self._parent if self._parent.is_valid else None,
                resource=self._provider.resource,
                attributes={KEPT: "error", **self.attributes},
                links=tuple(links or ()),
                kind=kind,
                status=self._status,
                start_time=self._started,
                end_time=time_ns() if end_time is None else end_time,
                instrumentation_scope=scope,
            )
        )
