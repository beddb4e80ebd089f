"""没被采样的跨度：轻轻记着，失败了的、带着 :data:`KEPT` 的才送出，它的祖先与成功的兄弟不在。

SDK 也能记（``RECORD_ONLY``），却要一个请求的百分之八：跨度、带锁的属性表与处理器都照被采样的备齐，十个里有九个扔掉。
这里只用 OpenTelemetry 的 API：别的应用的提供者不留岔子，SDK 也未必装着。
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import time_ns
from typing import Protocol, cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import Attributes, AttributeValue

KEPT = "kaguan.trace.kept"  # 不凭比例留下的缘由：retry、redelivery、decision、fenced、lease_expired、error
SOUND = Status(StatusCode.UNSET)


class KeepsFaults(Protocol):
    """产品的提供者（:class:`kaguan.telemetry.sampling.FaultProvider`）多出来的。"""

    @property
    def keeps_faults(self) -> bool: ...

    def send(self, span: Unsampled, context: SpanContext, ended: int) -> None:
        """一个没被采样而要留下的：``context`` 标成被采样的，送出。"""
        ...


def exports() -> bool:
    """本进程送不送跨度；提供者不是产品的，就当它送。"""
    return bool(getattr(trace.get_tracer_provider(), "batches", True))


class Spans:
    """开跨度的地方，一个作用域一份；``provider`` 不给就是本进程的，随时可以设。"""

    def __init__(self, scope: str, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer(scope, tracer_provider=provider)
        self._provider = provider
        self.scope = scope

    def start(
        self,
        name: str,
        context: Context | None,
        kind: SpanKind,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        began: int | None = None,
    ) -> Span:
        """开一个，不设为当前；``began`` 是早已开始的，纪元纳秒。"""
        span = self._tracer.start_span(name, context, kind, attributes, links, began)
        if span.is_recording():
            return span
        provider = self._provider or trace.get_tracer_provider()
        if not getattr(provider, "keeps_faults", False):
            return span
        parent = trace.get_current_span(context).get_span_context()
        keeper = cast("KeepsFaults", provider)
        return Unsampled(span.get_span_context(), parent, keeper, (self.scope, name, kind, links), attributes)


class Unsampled(NonRecordingSpan):
    """一个没被采样的跨度。

    Attributes:
        attributes: 设下的属性。
        said: 开它时说的：作用域、名字、种类、链接。
    """

    def __init__(
        self,
        context: SpanContext,
        parent: SpanContext,
        provider: KeepsFaults,
        said: tuple[str, str, SpanKind, Sequence[Link] | None],
        attributes: Attributes,
    ) -> None:
        super().__init__(context)
        self.parent, self.said = parent, said
        self.attributes: dict[str, AttributeValue] = dict(attributes) if attributes else {}
        self.started = time_ns()
        self.status = SOUND
        self._provider = provider
        self._ended = False

    def is_recording(self) -> bool:
        return not self._ended

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        self.attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        self.attributes |= attributes

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self.status = status if isinstance(status, Status) else Status(status, description)

    def end(self, end_time: int | None = None) -> None:
        """失败了的、带着 :data:`KEPT` 的标成被采样的送出：SDK 的处理器只送这样的。"""
        was_ended, self._ended = self._ended, True
        if was_ended or (self.status.status_code is not StatusCode.ERROR and KEPT not in self.attributes):
            return
        identity = self.get_span_context()
        flags = TraceFlags(identity.trace_flags | TraceFlags.SAMPLED)
        context = SpanContext(
            identity.trace_id, identity.span_id, is_remote=False, trace_flags=flags, trace_state=identity.trace_state
        )
        self._provider.send(self, context, time_ns() if end_time is None else end_time)
