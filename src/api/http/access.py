"""访问日志与 HTTP 指标：每个请求一行，绕过全部中间件的也不例外。

这里在应答之后、事件循环上跑，请求的时限管不到它：看的字节数处处有上限，没受理的正文只当文本看开头一点，从不解析。
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from time import monotonic
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.web_request import BaseRequest
from prometheus_client import Histogram

from api.http.context import Context, context_of
from api.http.envelope import JSON
from api.http.metrics import HttpMetrics
from api.http.redaction import LIMIT, REFUSED_LIMIT, one_line, redact, truncate
from api.http.refused import RefusedBudget
from kaguan.logging.access import AccessLines
from kaguan.logging.masking import OVERLAP, mask

MAX_AGENT = 512  # 字符
MAX_PATH = 2_048  # 字符
SHORT_AGENT, SHORT_PATH = 64, 128  # 字符；被拒的请求花完额度之后
ERROR = 400
UNMATCHED = "unmatched"
EXEMPLAR_PAUSE = 0.01  # 秒
SLOW = 0.1  # 秒
POLLED = "/console/live/"  # 开着的页面自己来问的：两秒一次，画出来的也记就占满轮转留下的历史
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


@dataclass(slots=True)
class Latency:
    """一种请求的时长。库校验一个 exemplar 比记一次时长还贵：每 :data:`EXEMPLAR_PAUSE` 秒留一个，慢的个个都留。"""

    histogram: Histogram
    next_exemplar: float = 0.0

    def observe(self, seconds: float, trace_id: str | None) -> None:
        """``trace_id`` 是被采样的跟踪，没有采样给 None。"""
        now = monotonic()
        if trace_id is None or (seconds < SLOW and now < self.next_exemplar):
            self.histogram.observe(seconds)
            return
        self.next_exemplar = now + EXEMPLAR_PAUSE
        self.histogram.observe(seconds, {"trace_id": trace_id})


@dataclass(frozen=True, slots=True)
class AccessSink:
    """访问日志写到哪里、指标记到哪里；``bodies`` 为假就只记正文的大小。"""

    lines: AccessLines
    metrics: HttpMetrics
    bodies: bool = True
    refused: RefusedBudget = field(default_factory=RefusedBudget)
    _latencies: dict[tuple[str, str, int], Latency] = field(default_factory=dict)

    def latency(self, method: str, route: str, status: int) -> Latency:
        """这种请求的时长；找带好标签的直方图比用它还贵，记下来。"""
        key = (method, route, status)
        latency = self._latencies.get(key)
        if latency is None:
            latency = self._latencies[key] = Latency(self.metrics.http.labels(method, route, str(status)))
        return latency


class AccessLog(AbstractAccessLogger):
    """由 aiohttp 在应答写完之后调用；``logger`` 实为 :class:`AccessSink`。"""

    logger: Any

    def log(self, request: BaseRequest, response: web.StreamResponse, time: float) -> None:
        context = context_of(request)
        sink: AccessSink = self.logger
        method = request.method
        sink.latency(method if method in METHODS else "OTHER", _route(request), response.status).observe(
            time, context.trace_id if context.sampled else None
        )
        accepted = _accepted(context, response)
        polled = accepted and response.status < ERROR and request.path.startswith(POLLED)
        whole = accepted or sink.refused.allows(context.address)
        limit = 0 if not (sink.bodies and whole) else LIMIT if accepted else REFUSED_LIMIT
        size = sink.lines.write(
            accepted=accepted and not polled,
            method=method[:32],
            path=_path(request.path[: MAX_PATH if whole else SHORT_PATH]),
            status=response.status,
            duration_ms=round(time * 1000, 2),
            request_id=context.request_id,
            trace_id=context.trace_id,
            ip=context.address,
            user_agent=_agent(request.headers.get("User-Agent", "")[: MAX_AGENT if whole else SHORT_AGENT]),
            principal=context.principal,
            request_body=_request_body(request, context, limit),
            response_body=_response_body(response, context, 0 if polled else limit, own=accepted),
        )
        if whole and not accepted:
            sink.refused.spend(context.address, size)


def _accepted(context: Context, response: web.StreamResponse) -> bool:
    """认证过，且做成了，或者至少收下了请求体：此外的都算被拒，正文来自什么人、是什么，都没有人看过。"""
    return context.principal is not None and (response.status < ERROR or context.body is not None)


@lru_cache(maxsize=1_024)
def _path(path: str) -> str:
    return one_line(mask(path))


@lru_cache(maxsize=1_024)
def _agent(agent: str) -> str:
    return one_line(mask(agent))


def _route(request: BaseRequest) -> str:
    """路由模板：有限的集合，才能当指标的标签。"""
    # 畸形请求没有匹配结果（公开属性会断言失败）；没有路径参数的匹配结果是空字典，不能按真假看
    match_info = request._match_info if isinstance(request, web.Request) else None  # noqa: SLF001 见上
    resource = None if match_info is None else match_info.route.resource
    return UNMATCHED if resource is None else resource.canonical


def _request_body(request: BaseRequest, context: Context, limit: int) -> str:
    raw = request._read_bytes  # noqa: SLF001 aiohttp 没有公开的「已读的正文」
    if raw is None:
        if request.headers.get("Content-Encoding"):
            return _omitted(request.content_length or 0)  # 没受理的不解开，压着的也看不出哪里是秘密
        raw = _arrived(request, limit + OVERLAP)
    if not limit:
        return _omitted(request.content_length or len(raw))
    declared = "Content-Type" in request.headers
    kind = JSON if context.body is not None else request.content_type if declared else ""
    return redact(raw, kind, context.body, limit)


def _arrived(request: BaseRequest, limit: int) -> bytes:
    """没读正文就被拒的请求：已到的部分也记下，不等没到的。"""
    content = request.content
    if not request.can_read_body or content.exception() is not None:
        return b""
    try:
        return content.read_nowait(limit)
    except (RuntimeError, web.RequestPayloadError, ValueError):
        return b""


def _response_body(response: web.StreamResponse, context: Context, limit: int, *, own: bool) -> str:
    body = response.body if isinstance(response, web.Response) else bytes(context.streamed)
    if not isinstance(body, bytes | bytearray):
        return ""
    if not limit:
        return _omitted(len(body))
    if context.wordless and own:
        return truncate(body.decode(), limit)
    return redact(bytes(body), response.headers.get("Content-Type", ""), limit=limit, own=own)


def _omitted(size: int) -> str:
    return f"<省略 {size} 字节>" if size else ""
