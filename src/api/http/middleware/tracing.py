"""HTTP 服务端跨度（OpenTelemetry 语义约定「HTTP server」1.44）。

现成的 aiohttp 中间件每请求要多花数十微秒收集我们不要的属性，且必须先打补丁才能用；这里只记该记的，没被采样、
也没出错的连属性都不设。查询串与正文从不进跨度。
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from aiohttp import HttpVersion11, web
from opentelemetry import trace
from opentelemetry.context import attach
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Span, SpanKind

from api.http import probing
from api.http.access import METHODS
from api.http.context import Context
from kaguan.logging.masking import mask
from kaguan.telemetry.exposition import METRICS_PATH
from kaguan.telemetry.propagation import context_from
from kaguan.telemetry.spans import ERROR_TYPE, HTTP_METHOD, HTTP_STATUS, record_error
from kaguan.telemetry.unsampled import KEPT, Spans

# 探测与抓取每几秒一次，不值一条跟踪
QUIET = probing.PATHS | {METRICS_PATH}
QUIET_BELOW = "/assets/"
SERVER_ERROR = 500
# 人作的决定（多半是对结局不明的邮件），一天没有几个：一律留下
DECISIONS = frozenset({"cancel", "retry", "replay"})
DECISION = {KEPT: "decision"}

_spans = Spans("kaguan.http")


def begin(request: web.Request, context: Context) -> Span | None:
    """开跨度并设为当前；不值得跟踪的路径没有。请求自成一个任务，不必还原当前跨度。"""
    if request.path in QUIET or request.path.startswith(QUIET_BELOW):
        return None
    name, decided = _named(request.method, _route(request))
    span = _spans.start(name, context_from(request.headers.get("traceparent")), SpanKind.SERVER, decided)
    attach(trace.set_span_in_context(span))
    identity = span.get_span_context()
    if identity.is_valid:
        context.trace_id = f"{identity.trace_id:032x}"
        context.sampled = identity.trace_flags.sampled
    return span


def describe(span: Span, request: web.Request, context: Context, response: web.StreamResponse) -> None:
    """补上结果与属性；送不出去的跨度不费这个事。"""
    failed = response.status >= SERVER_ERROR
    if not (span.is_recording() and (failed or context.sampled)):
        return
    if failed and not (isinstance(span, ReadableSpan) and ERROR_TYPE in (span.attributes or {})):
        record_error(span, str(response.status))  # 意外的已记下类名
    version = "1.1" if request.version == HttpVersion11 else "1.0"
    route, path = _route(request), request.path
    fixed = path if path == route else None
    span.set_attributes(
        _common(
            method=request.method,
            scheme=request.scheme,
            route=route,
            path=fixed,
            status=response.status,
            version=version,
            address=context.address,
        )
    )
    if fixed is None:
        span.set_attribute("url.path", mask(path))  # 路径参数里也许是粘错了的令牌
    span.set_attribute("kaguan.request_id", context.request_id)


@lru_cache(maxsize=512)
def _named(method: str, route: str | None) -> tuple[str, Mapping[str, str] | None]:
    """跨度的名字，与是不是人作的决定。"""
    if method not in METHODS:
        method = "HTTP"
    decided = DECISION if method == "POST" and route and route.rpartition("/")[2] in DECISIONS else None
    return f"{method} {route}" if route else method, decided


@lru_cache(maxsize=4_096)
def _common(
    method: str, scheme: str, route: str | None, path: str | None, status: int, version: str, address: str
) -> Mapping[str, str | int]:
    """低基数的那些属性：同样的请求共用一份。``path`` 只在路径固定时给。"""
    attributes: dict[str, str | int] = {
        HTTP_METHOD: method if method in METHODS else "_OTHER",
        "url.scheme": scheme,
        HTTP_STATUS: status,
        "client.address": address,
        "network.protocol.version": version,
    }
    if method not in METHODS:
        attributes["http.request.method_original"] = method
    if path is not None:
        attributes["url.path"] = path
    if route:
        attributes["http.route"] = route
    return attributes


def _route(request: web.Request) -> str | None:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else None
