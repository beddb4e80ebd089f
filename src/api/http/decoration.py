"""每个应答都带的响应头：请求号、安全头；不透露服务器软件。"""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.http.context import context_of

if TYPE_CHECKING:
    from aiohttp.web import StreamResponse
    from aiohttp.web_request import BaseRequest

# JSON 接口不需要任何浏览器能力；带页面的路由自己给出更宽的 CSP
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def decorate(request: BaseRequest, response: StreamResponse) -> None:
    """补齐响应头；路由自己给出的不覆盖。"""
    context = context_of(request)
    headers = response.headers
    headers["X-Request-ID"] = context.request_id
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    if context.rate is not None:
        headers.update(context.rate.headers())
