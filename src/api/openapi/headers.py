"""文档里的响应头：每个应答带哪些，哪些必有。"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from api.endpoints.endpoint import Endpoint
from api.endpoints.idempotency import REPLAYED
from api.http import probing
from api.http.envelope import RETRY_AFTER
from kaguan.words.errors import Code

ALWAYS = "X-Request-ID"
RATE = ("RateLimit", "RateLimit-Policy")
TEXT: dict[str, Any] = {"type": "string"}
HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    ALWAYS: ("请求号", TEXT),
    "RateLimit": ('余额：`"token";r=剩余;t=秒`；按令牌、按地址，或（`health`）按地址另计', TEXT),
    "RateLimit-Policy": ('限额：`"token";q=限额;w=秒`', TEXT),
    "Location": ("资源的地址", TEXT),
    "ETag": ("这一行的版本，可作 `If-Match`", {"type": "string", "pattern": '^"[1-9][0-9]{0,9}"$'}),
    "Retry-After": ("几秒之后再来", {"type": "integer", "minimum": 1}),
    REPLAYED: ("`true`：重放的首个应答", {"type": "string", "enum": ["true"]}),
    "WWW-Authenticate": ("质询", TEXT),
    "Allow": ("这个路径收的方法", TEXT),
}


def success_headers(route: Endpoint) -> dict[str, Any]:
    """成功应答的头。"""
    limited = RATE if route.path in probing.PROBING or route.path not in probing.PATHS else ()
    return _declared((ALWAYS, *limited, *route.headers), (REPLAYED,) if route.idempotent else ())


def error_headers(codes: Collection[Code]) -> dict[str, Any]:
    """这些错误码共用的应答的头；没走到限流器就被拒的（畸形的 HTTP）没有余额可说。"""
    limited = all(code is Code.TOO_MANY_REQUESTS for code in codes)
    required, optional = ([ALWAYS, *RATE], []) if limited else ([ALWAYS], [*RATE])
    if Code.NOT_AUTHENTICATED in codes:
        required.append("WWW-Authenticate")
    if Code.METHOD_NOT_ALLOWED in codes:
        required.append("Allow")
    waiting = [code in RETRY_AFTER for code in codes]
    if any(waiting):
        (required if all(waiting) else optional).append("Retry-After")
    return _declared(required, optional)


def _declared(required: Collection[str], optional: Collection[str]) -> dict[str, Any]:
    return {
        name: {"description": HEADERS[name][0], "required": name in required, "schema": HEADERS[name][1]}
        for name in (*required, *optional)
    }
