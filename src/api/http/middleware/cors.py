"""跨源（Fetch Standard「CORS protocol」）：默认关闭，只对配置里的来源开放，从不带凭据。"""

from __future__ import annotations

from aiohttp import web

METHODS = "GET, POST, PUT, PATCH, DELETE"
REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, If-Match, X-Request-ID, Accept-Language, traceparent"
RESPONSE_HEADERS = "ETag, Location, Retry-After, X-Request-ID, RateLimit, RateLimit-Policy, Idempotency-Replayed"
MAX_AGE = "600"


def is_preflight(request: web.Request) -> bool:
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


def preflight() -> web.Response:
    """预检的应答；只给配置里的来源。"""
    allowed = {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": REQUEST_HEADERS,
        "Access-Control-Max-Age": MAX_AGE,
    }
    return web.Response(status=204, headers=allowed)


def share(response: web.StreamResponse, origin: str) -> web.StreamResponse:
    """让 ``origin`` 读得到这个应答；头已发出的（事件流）不动。"""
    if response.prepared:
        return response
    headers = response.headers
    headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    headers["Access-Control-Allow-Origin"] = origin
    headers["Access-Control-Expose-Headers"] = RESPONSE_HEADERS
    headers.add("Vary", "Origin")
    return response
