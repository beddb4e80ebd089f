"""HTTP 服务端跨度（OpenTelemetry 语义约定「HTTP server」1.44）。

现成的 aiohttp 中间件每请求要多花数十微秒收集我们不要的属性，且必须先打补丁才能用；这里只记该记的。
查询串与正文从不进跨度。
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from api.context import context_of
from kaguan.telemetry.propagation import context_from

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

# 探测与抓取每几秒一次，不值一条跟踪
QUIET = ("/health", "/metrics", "/assets", "/console/assets", "/console/live", "/monitor/api", "/monitor/static")
SERVER_ERROR = 500

_tracer = trace.get_tracer("kaguan.http")


@web.middleware
async def server_span(request: web.Request, handler: Handler) -> web.StreamResponse:
    path = request.path
    if path.startswith(QUIET):
        return await handler(request)
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else None
    with _tracer.start_as_current_span(
        f"{request.method} {route}" if route else request.method,
        context_from(request.headers.get("traceparent")),
        SpanKind.SERVER,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        identity = span.get_span_context()
        if identity.is_valid:
            context_of(request).trace_id = f"{identity.trace_id:032x}"
            context_of(request).sampled = identity.trace_flags.sampled
        response = await handler(request)
        if span.is_recording():
            span.set_attributes(
                {
                    "http.request.method": request.method,
                    "url.scheme": request.scheme,
                    "url.path": path,
                    "http.response.status_code": response.status,
                    "client.address": context_of(request).address,
                    "network.protocol.version": f"{request.version.major}.{request.version.minor}",
                    "kaguan.request_id": context_of(request).request_id,
                }
            )
            if route:
                span.set_attribute("http.route", route)
            if response.status >= SERVER_ERROR:
                span.set_attribute("error.type", str(response.status))
                span.set_status(Status(StatusCode.ERROR))
        return response
