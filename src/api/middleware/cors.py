"""跨源（Fetch Standard「CORS protocol」）：默认关闭，只对配置里的来源开放，从不带凭据。"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from api.keys import SETTINGS

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

METHODS = "GET, POST, PUT, DELETE"
REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, If-Match, X-Request-ID, Accept-Language, traceparent"
RESPONSE_HEADERS = "ETag, Location, Retry-After, X-Request-ID, RateLimit, RateLimit-Policy, Idempotency-Replayed"
MAX_AGE = "600"


@web.middleware
async def cross_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    origin = request.headers.get("Origin")
    if origin is None or origin not in request.app[SETTINGS].api.cors_origins:
        return await handler(request)
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        preflight = {
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Allow-Headers": REQUEST_HEADERS,
            "Access-Control-Max-Age": MAX_AGE,
        }
        response: web.StreamResponse = web.Response(status=204, headers=preflight)
    else:
        response = await handler(request)
        if response.prepared:
            return response
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = RESPONSE_HEADERS
    response.headers.add("Vary", "Origin")
    return response
