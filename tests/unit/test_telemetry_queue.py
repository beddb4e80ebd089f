"""跨度的队列：成批、有界、数得清丢了多少。"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from kaguan.telemetry import export as module
from kaguan.telemetry.export import SpanExport
from kaguan.telemetry.otlp import encode_span
from kaguan.telemetry.recording import RecordingProvider

if TYPE_CHECKING:
    import pytest


class Received:
    """收下每一批；``answer`` 是发送的结果。"""

    def __init__(self, *, answer: bool = True) -> None:
        self.answer = answer
        self.batches: list[int] = []
        self.arrived = threading.Event()

    def __call__(self, body: bytes) -> bool:
        (group,) = ExportTraceServiceRequest.FromString(body).resource_spans
        self.batches.append(sum(len(scope.spans) for scope in group.scope_spans))
        self.arrived.set()
        return self.answer


def queue(received: Received, spans: int) -> SpanExport:
    export = SpanExport({"service.name": "t"}, received)
    record(export, spans)
    return export


def record(export: SpanExport, spans: int) -> None:
    tracer = RecordingProvider(1.0, export.put).get_tracer("t")
    for _ in range(spans):
        tracer.start_span("a", Context()).end()


def size_of_a_span() -> int:
    sizes: list[int] = []
    tracer = RecordingProvider(1.0, lambda span: sizes.append(len(encode_span(span)))).get_tracer("t")
    tracer.start_span("a", Context()).end()
    return sizes[0]


SPAN = size_of_a_span()  # 字节；这里的跨度都一样长


def test_a_batch_is_all_that_waits() -> None:
    received = Received()
    export = queue(received, 25)
    assert [export.export_once() for _ in range(2)] == [25, 0]
    assert (received.batches, export.dropped) == ([25], 0)


def test_a_full_buffer_drops_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_BYTES", 10 * SPAN)
    export = queue(Received(), 25)
    assert (export.export_once(), export.dropped) == (10, 15)


def test_a_failed_batch_is_counted() -> None:
    export = queue(Received(answer=False), 3)
    export.export_once()
    assert export.dropped == 3


def test_a_full_batch_is_sent_at_once_and_the_rest_at_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCHEDULE_DELAY", 600.0)
    monkeypatch.setattr(module, "BATCH_BYTES", 10 * SPAN)
    received = Received()
    export = queue(received, 10)
    export.start()
    assert received.arrived.wait(10)
    record(export, 3)
    export.stop(10)
    assert received.batches == [10, 3]


def test_a_partial_batch_does_not_wait_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCHEDULE_DELAY", 0.01)
    received = Received()
    export = queue(received, 2)
    export.start()
    assert received.arrived.wait(10)
    export.stop(10)
    assert sum(received.batches) == 2
