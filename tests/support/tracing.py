"""测试进程的跟踪：提供者与生产的一样全局只设一次，用例开关的是它的采样；结束的跨度留在内存里。"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, SpanLimits
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler, SamplingResult

from kaguan.telemetry.sampling import FaultProvider, FaultSampler
from kaguan.telemetry.spans import SEND_LINKS


class _Switch(Sampler):
    """交给 ``chosen``；平时一律不采样，与没有端点的进程一样。"""

    def __init__(self) -> None:
        self.chosen: Sampler = ALWAYS_OFF

    def should_sample(self, *arguments: Any, **named: Any) -> SamplingResult:
        return self.chosen.should_sample(*arguments, **named)

    def get_description(self) -> str:
        return f"Switch{{{self.chosen.get_description()}}}"


class _SwitchedProvider(FaultProvider):
    """采样器换来换去，留不留岔子看眼下的那个。"""

    def __init__(self, switch: _Switch) -> None:
        super().__init__(switch, span_limits=SpanLimits(max_links=SEND_LINKS))
        self._switch = switch

    @property
    def faults(self) -> FaultSampler | None:
        return self._switch.chosen if isinstance(self._switch.chosen, FaultSampler) else None


class Tracing:
    """本进程的跟踪。"""

    def __init__(self) -> None:
        self._switch = _Switch()
        self._exporter = InMemorySpanExporter()
        self.provider = _SwitchedProvider(self._switch)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @contextmanager
    def recording(self, sampler: Sampler) -> Iterator[InMemorySpanExporter]:
        """其间由 ``sampler`` 定；给出送出去的跨度。"""
        self._exporter.clear()
        self._switch.chosen = sampler
        try:
            yield self._exporter
        finally:
            self._switch.chosen = ALWAYS_OFF


def only(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    (span,) = [span for span in exporter.get_finished_spans() if span.name == name]
    return span
