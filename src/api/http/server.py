"""在 aiohttp 的服务器上补两件事：绕过中间件的拒绝也套信封；不透露软件名。"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import InvalidURLError
from aiohttp.web import StreamResponse
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from api.http.access import AccessLog, AccessSink
from api.http.context import context_of
from api.http.envelope import failure
from api.http.keys import SETTINGS
from api.http.translation import translate
from kaguan.words.errors import Code, DomainError
from kaguan.words.log import get_logger

log = get_logger(__name__)

MAX_CONTENT_TYPE = 255  # 字符；RFC 6838 §4.2 的类型至多 127 + 1 + 127，multipart 的边界至多 70（RFC 2046 §5.1.1）
WRITE_TIMEOUT = 14.0  # 秒：写不出去（套接字与缓冲都满了）这么久就断开，慢慢读的占不住内存；说好的是十五秒之内
# 读不到头，不知道读者的语言：两种都说
MALFORMED = "HTTP 请求格式有误 · malformed HTTP request"
UNENCODED = "地址里的空白与 ASCII 之外的字要百分号编码 · percent-encode what is not ASCII in the address"
# JSON 接口不需要任何浏览器能力；带页面的路由自己给出更宽的 CSP
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class EnvelopeRequestHandler(RequestHandler):
    """417（Expect）、400（畸形 HTTP）、过长的头都不经过中间件，只经过这里；不收应答的客户端也由它断开。"""

    __slots__ = ("_stalled", "_write_timeout", "when_lost")

    _stalled: asyncio.TimerHandle | None
    when_lost: Callable[[], object] | None

    def __init__(
        self,
        manager: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        write_timeout: float,
        **limits: Any,
    ) -> None:
        super().__init__(manager, loop=loop, **limits)
        self._write_timeout = write_timeout

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._stalled = None
        self.when_lost = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self._loop.call_later(self._write_timeout, self._cut_off)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_waiting()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_waiting()
        if self.when_lost is not None:
            self.when_lost()
        super().connection_lost(exc)

    def _stop_waiting(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _cut_off(self) -> None:
        if self.transport is not None:
            log.warning("客户端久不收应答，断开", seconds=self._write_timeout)  # 警告才会折叠：谁都造得出，不该写满日志
            self.transport.abort()

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if isinstance(resp, web.HTTPException) and resp.status >= web.HTTPBadRequest.status_code:
            translated = translate(resp)
            status = resp.status
            resp = failure(request, translated.error, translated.headers)
            resp.set_status(status)
        if self.transport is None:
            # 客户端已走：没有可写的地方（有的应答类会因此抛出取消），访问日志仍要有一行
            self.log_access(request, resp, start_time)
            return resp, True
        return await super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """解析失败（4xx）或中间件之外的意外（500）。细节只进日志。

        Raises:
            ConnectionError: 应答已发出一半，只能断开。
        """
        del message
        if isinstance(exc, UnicodeEncodeError) and "Expect" in request.headers:
            # 中间件之外只此一处：aiohttp 的 417 把 Expect 抄进应答，不是 UTF-8 的抄不进去
            status = web.HTTPExpectationFailed.status_code
        if status >= web.HTTPInternalServerError.status_code:
            log.error("请求处理出错", exc_info=exc)
            error = DomainError(Code.INTERNAL)
        else:
            log.warning("畸形的 HTTP 请求", error=type(exc).__name__)  # 同上；访问日志里各有一行
            told = UNENCODED if isinstance(exc, InvalidURLError) else MALFORMED
            error = DomainError(Code.INVALID_PARAMETERS, told, told)
        if request.writer.output_size > 0:
            raise ConnectionError("应答已发出一半，只能断开")
        response = failure(request, error)
        response.set_status(status)
        response.force_close()
        return response


@contextmanager
def told_when_lost(request: web.Request, tell: Callable[[], object]) -> Iterator[None]:
    """其间连接一断就叫 ``tell``：不写东西的长应答自己察觉不到。一条连接同时只有一个请求。

    Raises:
        TypeError: 不是我们的服务器收下的连接。
    """
    connection = request.protocol
    if not isinstance(connection, EnvelopeRequestHandler):
        raise TypeError(type(connection).__qualname__)
    connection.when_lost = tell
    try:
        yield
    finally:
        connection.when_lost = None


class DecoratedRequest(web.Request):
    """应答发出之前的最后一步：补响应头，去掉框架自报的 Server。连解析失败的请求也经过它。

    标准库解析 Content-Type 用平方的时间、递归到栈溢出（那一行访问日志就没了）：过长的当作没给。
    """

    def _parse_content_type(self, raw: str | None) -> None:
        super()._parse_content_type(raw if raw is None or len(raw) <= MAX_CONTENT_TYPE else None)

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        await super()._prepare_hook(response)
        decorate(self, response)
        response.headers.pop("Server", None)
        if self.version < HttpVersion11 and "Transfer-Encoding" in self.headers:
            # RFC 9112 §6.1：1.0 的发送者不懂分块，下一个请求从哪里起已不可信
            response.force_close()
            response.headers.pop("Connection", None)


class EnvelopeServer(web.Server):
    """用 :class:`EnvelopeRequestHandler` 处理连接的服务器。"""

    def __call__(self) -> RequestHandler:
        return EnvelopeRequestHandler(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """与 ``web.AppRunner`` 相同，只是换了服务器类。"""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return EnvelopeServer(
            plain.request_handler,
            request_factory=partial(self.app._make_request, _cls=DecoratedRequest),  # noqa: SLF001 aiohttp 没有公开的取法
            handler_cancellation=plain.handler_cancellation,
            loop=plain._loop,  # noqa: SLF001 同上
            **plain._kwargs,  # noqa: SLF001 同上
        )


def runner(app: web.Application, access: AccessSink | None, write_timeout: float = WRITE_TIMEOUT) -> Runner:
    """应用的运行器，限额取自配置。``access`` 为 None 即不记访问日志；应答 ``write_timeout`` 秒写不出去就断开。"""
    config = app[SETTINGS].api
    return Runner(
        app,
        handle_signals=False,
        keepalive_timeout=config.keepalive_timeout,
        max_line_size=config.header_limit,
        max_field_size=config.header_limit,
        lingering_time=1.0,
        auto_decompress=False,  # 受理的才解（kaguan.flow.inflating）：不然被拒的也在事件循环上解
        shutdown_timeout=20.0,
        access_log_class=AccessLog,
        access_log=access,
        write_timeout=write_timeout,
    )


def decorate(request: BaseRequest, response: StreamResponse) -> None:
    """每个应答都带的响应头：请求号、安全头；路由自己给出的不覆盖，不透露服务器软件。"""
    context = context_of(request)
    headers = response.headers
    headers["X-Request-ID"] = context.request_id
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    if context.rate is not None:
        headers.update(context.rate.headers())
