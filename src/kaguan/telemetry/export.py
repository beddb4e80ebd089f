"""导出跨度：结束时就编码、接在缓冲区尾上（数据还在缓存里，晚了要贵上几倍），一个线程成批发送；缓冲有界，满了就丢并计数。"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from kaguan.telemetry.otlp import encode_request, encode_span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaguan.telemetry.recording import RecordedSpan

QUEUE_BYTES = 8 * 1024 * 1024  # 待导出的上限；采集器缺省一次至多收 20 MiB
BATCH_BYTES = 512 * 1024  # 攒满这么多就发
SCHEDULE_DELAY = 1.0  # 秒；不满一批至多等这么久
EXPORT_TIMEOUT = 3.0  # 秒；一批导出（含重试）的时限


class Sender(Protocol):
    """把编好的一批送出去；返回成没成。须有时限，从不抛异常。"""

    def __call__(self, body: bytes, /) -> bool: ...


class OtlpSender:
    """OTLP/HTTP：端点、头、证书、压缩都按标准的 ``OTEL_EXPORTER_OTLP_*`` 变量，由官方导出器解析与重试。"""

    def __init__(self) -> None:
        self._client = OTLPSpanExporter(timeout=EXPORT_TIMEOUT)._client  # noqa: SLF001 编码已由我们做，只借它的发送

    def __call__(self, body: bytes) -> bool:
        return self._client.export(body).success


class SpanExport:
    """待导出的跨度，已编好。:meth:`put` 可在任何线程调用，从不等网络。

    Attributes:
        dropped: 因缓冲满或发送失败而丢的跨度数。
    """

    def __init__(self, resource: Mapping[str, Any], send: Sender) -> None:
        self._resource = resource
        self._send = send
        self._scopes: dict[str, bytearray] = {}  # scope → 首尾相接的跨度
        self._size = 0  # 字节
        self._count = 0  # 跨度
        self._wake = threading.Event()
        self._stopping = False
        self._mutex = threading.Lock()
        self._thread = threading.Thread(target=self.run, name="span-export", daemon=True)
        self.dropped = 0

    def start(self) -> None:
        self._thread.start()

    def put(self, span: RecordedSpan) -> None:
        encoded = encode_span(span)
        with self._mutex:
            size = self._size + len(encoded)
            if size > QUEUE_BYTES:
                self.dropped += 1
                return
            self._size = size
            self._count += 1
            spans = self._scopes.get(span.scope)
            if spans is None:
                spans = self._scopes[span.scope] = bytearray()
            spans += encoded
        if size >= BATCH_BYTES and not self._wake.is_set():
            self._wake.set()

    def run(self) -> None:
        """导出的线程：攒满一批就发，不满的每 :data:`SCHEDULE_DELAY` 秒发一次，停之前发完。"""
        while not self._stopping:
            self._wake.wait(SCHEDULE_DELAY)
            self._wake.clear()
            self.export_once()
        self.export_once()

    def export_once(self) -> int:
        """攒着的发一批；返回个数。"""
        with self._mutex:
            scopes, count = self._scopes, self._count
            self._scopes, self._size, self._count = {}, 0, 0
        if count and not self._send(encode_request(self._resource, scopes)):
            with self._mutex:
                self.dropped += count
        return count

    def stop(self, seconds: float) -> None:
        """发完攒着的再停，至多等 ``seconds`` 秒；之后不管它。"""
        self._stopping = True
        self._wake.set()
        self._thread.join(seconds)
