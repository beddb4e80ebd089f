"""最外层：请求上下文与日志上下文。"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from api.context import context_of
from api.proxies import CLIENT_ADDRESS

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler


@web.middleware
async def request_context(request: web.Request, handler: Handler) -> web.StreamResponse:
    context = context_of(request)
    context.address = request.app[CLIENT_ADDRESS](request)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=context.request_id)
    return await handler(request)
