"""每个请求的外壳，一层中间件做完：上下文、跨度、跨源、错误译成信封、按地址限流、时限。

次序从外到内就是代码的次序。一件事一个文件，这里只把它们串起来；逐件各挂一层中间件，每请求要多花几十微秒。
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler

from api.http import probing
from api.http.addresses import ADDRESSES
from api.http.context import Context, context_of
from api.http.keys import SETTINGS
from api.http.middleware import cors, tracing
from api.http.middleware.deadline import DEADLINE, DEADLINES, Deadlines
from api.http.middleware.errors import answer_to
from api.http.proxies import CLIENT_ADDRESS
from kaguan.words.log import bind

Inner = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def pipeline(request: web.Request, handler: Handler) -> web.StreamResponse:
    app = request.app
    context = context_of(request)
    context.address = app[CLIENT_ADDRESS](request)
    # 每个请求自成一个 asyncio 任务，上下文变量随它消失，不必还原
    bind(request_id=context.request_id)
    span = tracing.begin(request, context)
    try:
        response = await _across_origins(request, context, handler)
        if request.method not in probing.READING and response.status < web.HTTPBadRequest.status_code:
            app[probing.WRITES].made()
        if span is not None:
            tracing.describe(span, request, context, response)
    finally:
        if span is not None:
            span.end()
    return response


async def _across_origins(request: web.Request, context: Context, handler: Inner) -> web.StreamResponse:
    origin = request.headers.get("Origin")
    if origin is None or origin not in request.app[SETTINGS].api.cors_origins:
        return await _in_envelope(request, context, handler)
    if cors.is_preflight(request):
        response: web.StreamResponse = cors.preflight()
    else:
        response = await _in_envelope(request, context, handler)
    return cors.share(response, origin)


async def _in_envelope(request: web.Request, context: Context, handler: Inner) -> web.StreamResponse:
    app = request.app
    try:
        # 先于路由的一切：没有的路径、猜令牌的请求也受限。问死活的不限：它不花什么，限了就会被当成死了
        if request.path in probing.PROBING:
            await app[ADDRESSES].admit_prober(context)
        elif request.path not in probing.PATHS:
            await app[ADDRESSES].admit(context)
        return await _in_time(request, handler, app[DEADLINES])
    except web.HTTPException as error:
        if error.status < web.HTTPBadRequest.status_code:
            raise
        return answer_to(request, error)
    except Exception as error:  # noqa: BLE001 边缘：一切意外在此译成信封，细节只进日志
        return answer_to(request, error)


async def _in_time(request: web.Request, handler: Inner, deadlines: Deadlines) -> web.StreamResponse:
    with deadlines.limit() as deadline:
        request[DEADLINE] = deadline
        return await handler(request)
