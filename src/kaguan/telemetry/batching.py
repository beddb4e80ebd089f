"""SDK 的成批导出，外加它数不出来的一件事：丢了几个。"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult


class CountingExporter(SpanExporter):
    """数着交给 ``exporter`` 的与它送到的。只在导出的线程里调用。

    Attributes:
        taken: 已从队列取走的。
        delivered: 已送到的。
        failed: 没送到而放弃的。
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.taken = self.delivered = self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:  # 抛出的异常由 SDK 记日志
            if result is SpanExportResult.SUCCESS:
                self.delivered += len(spans)
            else:
                self.failed += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class CountingBatch(BatchSpanProcessor):
    """``BatchSpanProcessor``，队列的界由我们先守：SDK 满了丢最老的、每个一行警告，却不公开丢了几个。

    Args:
        exporter: 往哪里送。
        capacity: 队列至多装几个跨度。
        schedule_delay: 不满一批至多等多久，毫秒；None 即照 ``OTEL_BSP_SCHEDULE_DELAY``。
    """

    def __init__(self, exporter: SpanExporter, capacity: int, schedule_delay: float | None = None) -> None:
        self._counts = CountingExporter(exporter)
        self._capacity = capacity
        self._mutex = threading.Lock()
        self._put = 0
        self._refused = 0
        self._abandoned = False
        super().__init__(self._counts, max_queue_size=capacity, schedule_delay_millis=schedule_delay)

    def on_end(self, span: ReadableSpan) -> None:
        """结束的跨度入队；满了就丢、计数，从不等。"""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        with self._mutex:
            if self._put - self._counts.taken >= self._capacity:
                self._refused += 1
                return
            self._put += 1
        super().on_end(span)

    def abandon(self) -> None:
        """不再等了：还没送到的都算丢了。"""
        self._abandoned = True

    @property
    def dropped(self) -> int:
        """丢了的跨度数：队列满的、没送到的。"""
        return self._refused + (self._put - self._counts.delivered if self._abandoned else self._counts.failed)
