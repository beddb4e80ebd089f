"""``GET /metrics``：OpenMetrics（带 exemplar）。默认只对有 ``ops`` 权限的令牌开放，开发时本机也行。"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from aiohttp import web

from api.endpoints.call import Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.unit_of_work import Mode
from api.http.context import context_of
from api.http.guard import GUARD, bearer
from api.openapi import examples
from kaguan.telemetry.exposition import METRICS_PATH, render
from kaguan.tokens.service import OPERATE
from kaguan.words.errors import Code

PROXY_HEADERS = ("X-Forwarded-For", "Forwarded", "Via")


@endpoint(
    "GET",
    METRICS_PATH,
    scope=None,
    summary="Prometheus 指标",
    tag="operations",
    mode=Mode.DIRECT,
    produces="text/plain",
    example=examples.METRICS,
    errors=(Code.NOT_AUTHENTICATED, Code.NOT_ALLOWED),
)
async def metrics(call: Call[Any, Any]) -> web.StreamResponse:
    request = call.request
    settings = call.services.settings
    # 同机的反向代理可以一个头也不加，看不出请求来自外面：生产与预发布不认「本机」
    trusts_local = not settings.env.is_hardened
    if not (settings.api.metrics_public or (trusts_local and _is_local(request))):
        (await request.app[GUARD].identify(bearer(request))).require(OPERATE)
    content_type, body = render(call.services.metrics.registry, request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})


def _is_local(request: web.Request) -> bool:
    """本机直连；经本机反向代理来的不算。"""
    if any(name in request.headers for name in PROXY_HEADERS):
        return False
    try:
        return ip_address(context_of(request).address).is_loopback
    except ValueError:
        return False


ROUTES: tuple[Endpoint, ...] = (metrics,)
