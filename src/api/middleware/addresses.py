"""按地址限流，先于路由的一切：没有的路径、猜令牌的请求也受限。"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from api.context import context_of
from api.guard import GUARD

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

# 探测来自同一个地址，不能因为业务繁忙就说进程死了
UNLIMITED = ("/health",)


@web.middleware
async def limit_addresses(request: web.Request, handler: Handler) -> web.StreamResponse:
    if not request.path.startswith(UNLIMITED):
        context = context_of(request)
        context.rate = await request.app[GUARD].admit_address(context.address)
    return await handler(request)
