"""记录跨度：OpenTelemetry API（Tracer、Span）的精简实现。

SDK 的跨度每个要数十微秒（逐属性检查、三把锁、两层生成器），受理的热路径上一个请求有两个。这里只做我们用到的：
采样、父子、属性、链接、状态、异常的类型；没被采样的跨度只有号，几乎不花钱。资源、端点与发送仍用 SDK 与官方导出器。
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from random import getrandbits
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TracerProvider,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link
    from opentelemetry.util.types import AnyValue, Attributes

    Deliver = Callable[["RecordedSpan"], None]

SAMPLED = TraceFlags(TraceFlags.SAMPLED)
NOT_SAMPLED = TraceFlags(TraceFlags.DEFAULT)
LOW_HALF = (1 << 64) - 1
ERROR_TYPE = "error.type"


class Constant(dict[str, Any]):
    """许多跨度共用的一组属性：造好之后不改，所以只编码一次，``encoded`` 由编码者记下。"""

    __slots__ = ("encoded",)

    def __init__(self, attributes: Mapping[str, AnyValue]) -> None:
        super().__init__(attributes)
        self.encoded: bytes | None = None


class RecordedSpan(Span):
    """被采样的跨度。结束时交给 ``deliver``，之后不再改。时刻是 Unix 纳秒，没结束时 ``ended`` 为 0。

    属性分两处：整组共用的在 ``constants``（其中的键不许再单独设），其余在 ``own``。
    """

    __slots__ = (
        "constants", "context", "deliver", "ended", "events", "kind", "links", "name", "own", "parent",
        "scope", "started", "status",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913, PLR0917 一个跨度就有这么多事实，热路径上不值得再包一层
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Attributes,
        links: Sequence[Link],
        scope: str,
        deliver: Deliver,
        started: int,
    ) -> None:
        self.name = name
        self.context = context
        self.parent = parent
        self.kind = kind
        self.own: dict[str, Any] = {}
        self.constants: tuple[Constant, ...] = ()
        self.links = links
        self.scope = scope
        self.deliver = deliver
        self.started = started
        self.ended = 0
        self.events: tuple[tuple[str, int, Mapping[str, Any]], ...] = ()
        self.status = StatusCode.UNSET
        if type(attributes) is Constant:
            self.constants = (attributes,)
        elif attributes:
            self.own.update(attributes)

    @property
    def attributes(self) -> dict[str, Any]:
        """全部属性。"""
        return {key: value for part in (*self.constants, self.own) for key, value in part.items()}

    def end(self, end_time: int | None = None) -> None:
        if not self.ended:
            self.ended = end_time or time.time_ns()
            self.deliver(self)

    def get_span_context(self) -> SpanContext:
        return self.context

    def is_recording(self) -> bool:
        return not self.ended

    def set_attribute(self, key: str, value: AnyValue) -> None:
        if not self.ended:
            self.own[key] = value

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        if self.ended:
            return
        if isinstance(attributes, Constant):
            self.constants += (attributes,)
        else:
            self.own.update(attributes)

    def update_name(self, name: str) -> None:
        self.name = name

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        if not self.ended:
            self.events = (*self.events, (name, timestamp or time.time_ns(), attributes or {}))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002 签名由 OpenTelemetry 定
    ) -> None:
        """只记类型：消息与堆栈里可能有个人信息。"""
        del escaped
        self.add_event("exception", {"exception.type": type(exception).__qualname__, **(attributes or {})}, timestamp)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """只记状态：说明里常有异常的消息，也就可能有个人信息。"""
        del description
        if not self.ended and self.status is not StatusCode.OK:
            self.status = status.status_code if isinstance(status, Status) else status


class RecordingTracer(Tracer):
    """按父级、再按比例采样的 Tracer。"""

    def __init__(self, scope: str, bound: int, deliver: Deliver) -> None:
        self._scope = scope
        self._bound = bound
        self._deliver = deliver

    def start_span(  # noqa: PLR0913, PLR0917 签名由 OpenTelemetry 定
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001, FBT002 同上
        set_status_on_exception: bool = True,  # noqa: FBT001, FBT002 同上
    ) -> Span:
        del record_exception, set_status_on_exception  # 只有 start_as_current_span 用得着
        outer = trace.get_current_span(context).get_span_context()
        trace_id, _, _, outer_flags, trace_state, has_parent = outer
        if has_parent:
            sampled = self._bound >= 0 and outer_flags & TraceFlags.SAMPLED
        else:
            trace_id = getrandbits(128) or 1  # 全零无效（W3C Trace Context §3.2.2）
            # 与 SDK 的 TraceIdRatioBased 同样的判断：同一条跟踪，各进程的决定一致
            sampled = trace_id & LOW_HALF < self._bound
        flags = SAMPLED if sampled else NOT_SAMPLED
        # 号是自己造的，不必再验一遍：构造函数比元组贵两倍
        facts = (trace_id, getrandbits(64) or 1, False, flags, trace_state, True)
        identity = tuple.__new__(SpanContext, facts)
        if not sampled:
            return NonRecordingSpan(identity)
        return RecordedSpan(
            name, identity, outer if has_parent else None, kind, attributes, links or (), self._scope, self._deliver,
            start_time or time.time_ns(),
        )  # fmt: skip

    @contextmanager
    def start_as_current_span(  # type: ignore[override] # noqa: PLR0913, PLR0917 签名由 OpenTelemetry 定，只是返回类型是标准库的
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001, FBT002 同上
        set_status_on_exception: bool = True,  # noqa: FBT001, FBT002 同上
        end_on_exit: bool = True,  # noqa: FBT001, FBT002 同上
    ) -> Iterator[Span]:
        span = self.start_span(name, context, kind, attributes, links, start_time)
        with trace.use_span(span, end_on_exit, record_exception, set_status_on_exception):
            yield span


class RecordingProvider(TracerProvider):
    """进程的 Tracer 提供者。

    Args:
        ratio: 根跨度的采样比例；None 表示一律不采样（没有地方可导出），父级说采样也不。
        deliver: 收下结束的跨度；在结束它的线程里调用，不许阻塞。
    """

    def __init__(self, ratio: float | None, deliver: Deliver) -> None:
        self._bound = -1 if ratio is None else round(ratio * (LOW_HALF + 1))
        self._deliver = deliver

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> Tracer:
        del instrumenting_library_version, schema_url, attributes
        return RecordingTracer(instrumenting_module_name, self._bound, self._deliver)
