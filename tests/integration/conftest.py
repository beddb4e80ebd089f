"""集成测试共用：一个运行中的应用，记在内存里的跨度。"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kaguan.telemetry import spans
from tests.serving import Api, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kaguan.config import Settings


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    async with serving(settings) as running:
        yield running


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """记下 kaguan 的跨度。全局的提供者只能设一次，所以换的是我们的 tracer。"""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans, "_tracer", provider.get_tracer("kaguan"))
    return exporter
