"""导出跨度：结束时就编码（数据还在缓存里，晚了要贵上几倍），排队由一个线程成批发送；队列有界，满了就丢并计数。"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from kaguan.telemetry.otlp import encode_request, encode_span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaguan.telemetry.recording import RecordedSpan

QUEUE_SIZE = 8_192  # 待导出的跨度上限
BATCH_SIZE = 2_048
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
    """待导出的队列。:meth:`put` 可在任何线程调用，从不等待。

    Attributes:
        dropped: 因队列满或发送失败而丢的跨度数。
    """

    def __init__(self, resource: Mapping[str, Any], send: Sender) -> None:
        self._resource = resource
        self._send = send
        self._queue: deque[tuple[str, bytes]] = deque()  # scope 与编好的跨度
        self._wake = threading.Event()
        self._stopping = False
        self._mutex = threading.Lock()
        self._thread = threading.Thread(target=self.run, name="span-export", daemon=True)
        self.dropped = 0

    def start(self) -> None:
        self._thread.start()

    def put(self, span: RecordedSpan) -> None:
        waiting = len(self._queue)
        if waiting >= QUEUE_SIZE:
            self._drop(1)
            return
        self._queue.append((span.scope, encode_span(span)))
        if waiting >= BATCH_SIZE and not self._wake.is_set():
            self._wake.set()

    def run(self) -> None:
        """导出的线程：满一批就发，不满的每 :data:`SCHEDULE_DELAY` 秒发一次，停之前发完。"""
        while not self._stopping:
            full = self._wake.wait(SCHEDULE_DELAY)
            self._wake.clear()
            while len(self._queue) >= (BATCH_SIZE if full else 1):
                self.export_once()
        while self._queue:
            self.export_once()

    def export_once(self) -> int:
        """发一批；返回个数。"""
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_SIZE))]
        if batch and not self._send(encode_request(self._resource, batch)):
            self._drop(len(batch))
        return len(batch)

    def stop(self, seconds: float) -> None:
        """发完排着的再停，至多等 ``seconds`` 秒；之后不管它。"""
        self._stopping = True
        self._wake.set()
        self._thread.join(seconds)

    def _drop(self, spans: int) -> None:
        with self._mutex:
            self.dropped += spans
