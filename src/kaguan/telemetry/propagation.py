"""跟踪上下文的搬运：W3C ``traceparent`` 存进 tb_task / tb_outbox，到下一个进程再取出来。"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_W3C = TraceContextTextMapPropagator()


def traceparent_of(context: SpanContext) -> str | None:
    """跨度上下文的 W3C 写法；无效的上下文给 ``None``。"""
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def current_traceparent() -> str | None:
    """当前跨度的 ``traceparent``；不在任何跨度里则为 ``None``。"""
    return traceparent_of(trace.get_current_span().get_span_context())


def current_trace_id() -> str | None:
    """当前的 trace_id（32 位十六进制），供 API 回答与 exemplar 用。"""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def context_from(traceparent: str | None) -> Context:
    """以 ``traceparent`` 为远端父级的上下文；缺失或不合格式就是空上下文（新的根），从不报错。"""
    if traceparent is None:
        return Context()
    return _W3C.extract({"traceparent": traceparent}, context=Context())


def link_from(traceparent: str | None) -> Link | None:
    """指向 ``traceparent`` 的链接；缺失或不合格式给 ``None``。"""
    context = trace.get_current_span(context_from(traceparent)).get_span_context()
    return Link(context) if context.is_valid else None
