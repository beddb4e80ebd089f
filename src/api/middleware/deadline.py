"""整个请求的时限：超过即 504/2004，事务随取消回滚。"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from api.keys import SETTINGS
from kaguan.errors import Code, DomainError

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

STREAMS = "/events"


@web.middleware
async def deadline(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path.endswith(STREAMS):
        # 事件流按设计长开，自有心跳与时限
        return await handler(request)
    try:
        async with asyncio.timeout(request.app[SETTINGS].api.request_timeout):
            return await handler(request)
    except TimeoutError:
        raise DomainError(Code.TIMED_OUT) from None
