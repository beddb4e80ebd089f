"""跨度：名字与属性的写法，对外调用的跨度。协议自己的见 :mod:`kaguan.outbox.spans`。

异常只记类型，不记消息与堆栈：它们可能带着个人信息，详情在日志里按 task_id 找。
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from kaguan.telemetry.unsampled import Spans

ERROR_TYPE = "error.type"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
HTTP_PORT, HTTPS_PORT = 80, 443
HTTP_METHOD = "http.request.method"
HTTP_STATUS = "http.response.status_code"
DB_SYSTEM, DB_OPERATION, DB_COLLECTION = "db.system.name", "db.operation.name", "db.collection.name"

SEND_LINKS = 5_000  # relay 一批配得到的上限；提供者的链接上限也照它（SDK 的只有 128）

SPANS = Spans("kaguan")


def record_error(span: Span, error: str) -> None:
    """标记跨度失败。``error`` 是类名或错误码，不是消息。"""
    span.set_attribute(ERROR_TYPE, error)
    span.set_status(Status(StatusCode.ERROR))


def server_of(url: str) -> dict[str, AttributeValue]:
    """跨度上的对方：主机与端口。整个地址（``url.full``）不记：路径与查询串里可能有令牌、卡号。"""
    parts = urlsplit(url)
    port = parts.port or (HTTPS_PORT if parts.scheme == "https" else HTTP_PORT)
    return {SERVER_ADDRESS: parts.hostname or "", SERVER_PORT: port}


def client_span(name: str, attributes: Mapping[str, AttributeValue]) -> AbstractContextManager[Span]:
    """对外调用（SMTP、运营商、HTTP）：只在被记录的父跨度之下才开，空转的轮询因此不产生跨度。

    没被采样的也开：它失败了要送出去（见 :mod:`kaguan.telemetry.sampling`），比起一次网络往返几微秒不算什么。
    """
    parent = trace.get_current_span()
    return ActiveSpan(name, SpanKind.CLIENT, attributes) if parent.is_recording() else nullcontext(parent)


class ActiveSpan:
    """开一个跨度并设为当前。与 ``start_as_current_span`` 同义，但省下两层生成器（热路径），且异常只记类型。

    SDK 的那个把异常的消息与堆栈也记进跨度。

    Args:
        current: 设为当前跨度。
    """

    __slots__ = ("_arguments", "_current", "_span", "_token")

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, AttributeValue],
        context: Context | None = None,
        links: list[Link] | None = None,
        *,
        current: bool = True,
    ) -> None:
        self._arguments = (name, context, kind, attributes, links)
        self._current = current

    def __enter__(self) -> Span:
        self._span = SPANS.start(*self._arguments)
        if self._current:
            self._token = attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._current:
            detach(self._token)
        if kind is not None:
            record_error(self._span, kind.__qualname__)
        self._span.end()
