"""成批导出：界由我们守，丢了多少数得清；SDK 从不因为满而替我们丢。"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, Sampler, StaticSampler

from kaguan.telemetry.batching import CountingBatch
from tests.support.eventually import PATIENCE


class Held(SpanExporter):
    """放行之前不返回；``answer`` 是结果，``None`` 即抛异常。"""

    def __init__(self, answer: SpanExportResult | None = SpanExportResult.SUCCESS) -> None:
        self.answer = answer
        self.entered = threading.Event()
        self.released = threading.Event()
        self.sizes: list[int] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.sizes.append(len(spans))
        self.entered.set()
        assert self.released.wait(PATIENCE)
        if self.answer is None:
            raise ConnectionError
        return self.answer


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.released.set()


def provider_of(batch: CountingBatch, sampler: Sampler = ALWAYS_ON) -> TracerProvider:
    provider = TracerProvider(sampler, shutdown_on_exit=False)
    provider.add_span_processor(batch)
    return provider


def record(batch: CountingBatch, spans: int, sampler: Sampler = ALWAYS_ON) -> None:
    tracer = provider_of(batch, sampler).get_tracer("t")
    for _ in range(spans):
        tracer.start_span("a", Context()).end()


def stop(batch: CountingBatch) -> None:
    provider_of(batch).shutdown()


def test_a_full_queue_refuses_the_newest_and_counts_them(
    held: Held, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    batch = CountingBatch(held, 20, schedule_delay=PATIENCE * 1_000)
    record(batch, 10)
    assert held.entered.wait(PATIENCE)  # 这一批在路上，不占队列
    record(batch, 25)
    assert batch.dropped == 5
    held.released.set()
    stop(batch)
    assert (sum(held.sizes), batch.dropped) == (30, 5)
    assert "Queue full" not in caplog.text


@pytest.mark.parametrize("answer", [SpanExportResult.FAILURE, None], ids=str)
def test_a_batch_that_did_not_arrive_is_counted(answer: SpanExportResult | None) -> None:
    held = Held(answer)
    held.released.set()
    batch = CountingBatch(held, 1_000)
    record(batch, 3)
    stop(batch)
    assert batch.dropped == 3


def test_what_is_still_on_its_way_when_we_stop_waiting_is_counted(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    batch = CountingBatch(held, 20)
    record(batch, 14)
    assert held.entered.wait(PATIENCE)
    assert batch.dropped == 0
    batch.abandon()
    assert batch.dropped == 14
    held.released.set()
    stop(batch)
    assert batch.dropped == 0  # 到底还是送到了


def test_spans_that_are_not_sampled_take_no_room(held: Held) -> None:
    held.released.set()
    batch = CountingBatch(held, 512)
    record(batch, 1_000, StaticSampler(Decision.RECORD_ONLY))
    stop(batch)
    assert (held.sizes, batch.dropped) == ([], 0)
