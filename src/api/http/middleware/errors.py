"""异常 → 信封。预料之中的各有其码；其余一律 2001，细节只进日志。"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from aiohttp import web
from opentelemetry import trace

from api.http.envelope import failure
from api.http.keys import SERVICES
from api.http.probing import READING, WRITES
from api.http.translation import Translated, translate
from kaguan.database.pool import waits_for_standby
from kaguan.telemetry.spans import record_error
from kaguan.words.errors import Code, DomainError
from kaguan.words.log import get_logger

log = get_logger(__name__)

NOT_WRITTEN = frozenset({Code.DATABASE_UNAVAILABLE, Code.TIMED_OUT, Code.INTERNAL})

ErrorPage: TypeAlias = "Callable[[web.Request, Translated], web.Response | None]"
# 给人看的那些地址，出错时的页面；别的地址给 None，应答是信封
ERROR_PAGE: web.AppKey[ErrorPage] = web.AppKey("ERROR_PAGE")


def answer_to(request: web.Request, error: Exception) -> web.Response:
    """异常的应答；客户端已走的也有，访问日志仍要有一行。"""
    translated = translate(error)
    if translated.error.code is Code.TIMED_OUT and waits_for_standby(request.app[SERVICES].pool):
        # 不是慢：同步备库不在，库里写得下，答不得「成了」
        translated = Translated(DomainError(Code.DATABASE_UNAVAILABLE), cause="standby_away")
    if request.method not in READING and translated.error.code in NOT_WRITTEN:
        request.app[WRITES].failed()
    if translated.unexpected:
        log.error("请求处理出错", method=request.method, path=request.path, exc_info=error)
        # 只记类名：消息里可能有 PostgreSQL 的 DETAIL，也就是用户的数据
        record_error(trace.get_current_span(), type(error).__qualname__)
    elif translated.cause:
        log.warning("请求未完成", method=request.method, path=request.path, cause=translated.cause)
    if request.transport is None:
        log.debug("客户端已断开", path=request.path)
    page = request.app[ERROR_PAGE](request, translated)
    return page if page is not None else failure(request, translated.error, translated.headers)
