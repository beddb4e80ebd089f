"""应用的组装。只应本机：不认别的 Host（防 DNS 重绑定），页面不许内联、不许外来资源。"""

from __future__ import annotations

from zoneinfo import ZoneInfo

import aiohttp_jinja2
from aiohttp import web
from aiohttp.typedefs import Handler
from jinja2 import ChoiceLoader, PackageLoader, StrictUndefined

from kaguan.dev.traceview import ingest, jaeger_api, pages
from kaguan.dev.traceview.keys import STORE, ZONE
from kaguan.dev.traceview.store import Limits, TraceStore
from kaguan.flow.probes import LOOPBACK

STOP_TIMEOUT = 1.0  # 秒；等在途应答
LOCAL_NAMES = frozenset({LOOPBACK, "localhost", "[::1]"})
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def build_runner(limits: Limits, zone: ZoneInfo) -> web.AppRunner:
    """一个空的查看器，可挂到真的套接字上；正文由 ``ingest`` 自己解压。"""
    return web.AppRunner(
        _build_app(limits, zone), access_log=None, auto_decompress=False, shutdown_timeout=STOP_TIMEOUT
    )


def _build_app(limits: Limits, zone: ZoneInfo) -> web.Application:
    app = web.Application(middlewares=[_only_local], client_max_size=ingest.BODY_LIMIT)
    app[STORE] = TraceStore(limits)
    app[ZONE] = zone
    app.on_response_prepare.append(_add_headers)
    aiohttp_jinja2.setup(
        app,
        loader=ChoiceLoader([PackageLoader("kaguan.dev.traceview"), PackageLoader("kaguan.telemetry")]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        filters=pages.FILTERS,
    )
    app.router.add_post("/v1/traces", ingest.receive)
    app.router.add_get("/health", _health)
    jaeger_api.add_routes(app.router)
    pages.add_routes(app.router)
    return app


@web.middleware
async def _only_local(request: web.Request, handler: Handler) -> web.StreamResponse:
    name = request.host.rpartition(":")[0] if request.host[-1:].isdigit() and ":" in request.host else request.host
    if name.lower() not in LOCAL_NAMES:
        raise web.HTTPMisdirectedRequest(text="只应本机的请求\n")
    return await handler(request)


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


async def _health(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")
