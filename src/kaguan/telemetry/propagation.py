"""跟踪上下文的搬运：W3C ``traceparent`` 存进 tb_task / tb_outbox，到下一个进程再取出来。"""

from __future__ import annotations

import re
from functools import lru_cache

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, TraceFlags

# W3C Trace Context §3.2；官方的传播器多绕一层载体与 tracestate，慢数倍，而我们只搬 traceparent
_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<rest>-.*)?"
)

NO_TRACE, NO_SPAN = "0" * 32, "0" * 16
PLAIN = 55  # 字符：版本 00 的长度，也只有四段，末尾两个是标志
EVEN = frozenset("02468ace")  # 标志的末一位：没有采样；SDK 编的号另有一位说它是随机的（02）


def traceparent_of(context: SpanContext) -> str | None:
    """跨度上下文的 W3C 写法；无效的上下文给 ``None``。"""
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def current_context() -> SpanContext:
    """当前跨度；不在任何跨度里则无效。"""
    return trace.get_current_span().get_span_context()


def current_traceparent() -> str | None:
    """当前跨度的 ``traceparent``；不在任何跨度里则为 ``None``。"""
    return traceparent_of(current_context())


def failed_traceparent() -> str | None:
    """当前跨度的 ``traceparent``，它就要失败了：记着的失败都送出，所以标成被采样的，哪怕比例没选中它。"""
    span = trace.get_current_span()
    identity = span.get_span_context()
    if not span.is_recording():
        return traceparent_of(identity)
    flags = TraceFlags(identity.trace_flags | TraceFlags.SAMPLED)
    return traceparent_of(SpanContext(identity.trace_id, identity.span_id, is_remote=False, trace_flags=flags))


def trace_id_of(traceparent: str | None) -> str | None:
    """``traceparent`` 里的 trace_id；缺失或不合格式给 ``None``。"""
    fields = _fields(traceparent)
    return None if fields is None else fields[0]


def sampled_trace_of(traceparent: str | None) -> str | None:
    """``traceparent`` 里被采样的那条跟踪，也就是送出去了、查得到的；别的给 ``None``。"""
    if traceparent is None or (len(traceparent) == PLAIN and traceparent[-1] in EVEN):  # 十个里有九个：不必拆开
        return None
    fields = _fields(traceparent)
    return fields[0] if fields is not None and int(fields[2], 16) & TraceFlags.SAMPLED else None


def context_from(traceparent: str | None) -> Context:
    """以 ``traceparent`` 为远端父级的上下文；缺失或不合格式就是空上下文（新的根），从不报错。"""
    identity = _parse(traceparent)
    return Context() if identity is None else trace.set_span_in_context(NonRecordingSpan(identity), Context())


def link_from(traceparent: str | None) -> Link | None:
    """指向 ``traceparent`` 的链接；缺失或不合格式给 ``None``。"""
    identity = _parse(traceparent)
    return None if identity is None else Link(identity)


def _parse(traceparent: str | None) -> SpanContext | None:
    fields = _fields(traceparent)
    if fields is None:
        return None
    trace_id, span_id, flags = fields
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


@lru_cache(maxsize=1_024)  # 一个任务走到的每一处都要看一眼
def _fields(traceparent: str | None) -> tuple[str, str, str] | None:
    """``traceparent`` 的（跟踪号，跨度号，标志）；缺失或无效给 ``None``。

    版本 00 之后不许再有东西，ff 无效，更高的版本只看前四段，全零的号无效（§3.2.2.1 起，§4.3）。
    """
    match = _TRACEPARENT.fullmatch(traceparent.strip(" \t")) if traceparent is not None else None
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest is not None) or trace_id == NO_TRACE or span_id == NO_SPAN:
        return None
    return trace_id, span_id, flags
