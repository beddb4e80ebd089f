"""异常 → 信封。预料之中的各有其码；其余一律 2001，细节只进日志。"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from aiohttp import web
from opentelemetry import trace

from api.console.errors import error_page, is_page
from api.envelope import failure
from api.translation import translate
from kaguan.telemetry.spans import record_error

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

log = structlog.get_logger(__name__)


@web.middleware
async def errors_in_envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < web.HTTPBadRequest.status_code:
            raise
        translated = translate(error)
    except Exception as error:  # 边缘：一切意外在此译成信封，细节只进日志
        translated = translate(error)
        if translated.unexpected:
            log.exception("请求处理出错", method=request.method, path=request.path)
            # 只记类名：消息里可能有 PostgreSQL 的 DETAIL，也就是用户的数据
            record_error(trace.get_current_span(), type(error).__qualname__)
        elif translated.cause:
            log.warning("请求未完成", method=request.method, path=request.path, cause=translated.cause)
    if request.transport is None:
        # 客户端已走；写不出去，但访问日志仍要有一行
        log.debug("客户端已断开", path=request.path)
    if is_page(request):
        return error_page(request, translated)
    return failure(request, translated.error, translated.headers)
