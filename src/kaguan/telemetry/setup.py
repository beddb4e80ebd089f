"""跟踪的提供者：采样、导出、有界的停机。只有给了 OTLP 端点才导出；没有端点时跨度不被记录，但 trace_id 仍在。"""

from __future__ import annotations

import os
import socket
import threading
from importlib.metadata import version
from typing import TYPE_CHECKING
from uuid import uuid4

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from kaguan.config.model import Telemetry as TelemetryConfig

SEMCONV_OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
QUEUE_SIZE = 8_192  # 待导出的跨度上限；满了丢最旧的并计数
BATCH_SIZE = 512
SCHEDULE_DELAY = 1_000.0  # 毫秒
EXPORT_TIMEOUT = 3.0  # 秒；一批导出（含重试）的时限
SHUTDOWN_TIMEOUT = 5.0  # 秒；端点不通也不许拖住停机


class SpanDrops:
    """丢掉的跨度计数；导出线程与事件循环都会加。"""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self.count = 0

    def add(self, spans: int) -> None:
        with self._mutex:
            self.count += spans


class Provider(TracerProvider):
    """带丢失计数的提供者；``drops`` 由 :func:`spans_dropped` 读。"""

    def __init__(self, sampler: Sampler, resource: Resource, drops: SpanDrops) -> None:
        super().__init__(sampler, resource, shutdown_on_exit=False)
        self.drops = drops


class Telemetry:
    """本进程的跟踪。调用它即停机：至多 :data:`SHUTDOWN_TIMEOUT` 秒，可重复调用。"""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._stopped = False

    def __call__(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        # SDK 自己的停机要等正在进行的导出；放在守护线程里等，时限由我们定
        stopper = threading.Thread(target=self._provider.shutdown, name="telemetry-shutdown", daemon=True)
        stopper.start()
        stopper.join(SHUTDOWN_TIMEOUT)


def spans_dropped() -> int:
    """本进程因队列满或导出失败而丢掉的跨度数。"""
    provider = trace.get_tracer_provider()
    return provider.drops.count if isinstance(provider, Provider) else 0


class _CountingExporter(SpanExporter):
    """导出失败的批次计入丢失。"""

    def __init__(self, exporter: SpanExporter, drops: SpanDrops) -> None:
        self._exporter = exporter
        self._drops = drops

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self._drops.add(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _BoundedProcessor(BatchSpanProcessor):
    """队列满时 SDK 悄悄丢最旧的；这里替它数。"""

    def __init__(self, exporter: SpanExporter, drops: SpanDrops) -> None:
        super().__init__(_CountingExporter(exporter, drops), QUEUE_SIZE, SCHEDULE_DELAY, BATCH_SIZE)
        self._drops = drops

    def on_end(self, span: ReadableSpan) -> None:
        # SDK 没有公开的计数口（只有它自己的指标管线）
        if len(self._batch_processor._queue) >= QUEUE_SIZE:  # noqa: SLF001 见上
            self._drops.add(1)
        super().on_end(span)


def export_endpoint(environ: Mapping[str, str]) -> str | None:
    """OTLP 端点；两个标准变量都没给（或为空）则不导出。"""
    return next((environ[name] for name in ENDPOINTS if environ.get(name)), None)


def configure_telemetry(config: TelemetryConfig, process: str) -> Telemetry:
    """设好全局的 TracerProvider。须在导入任何 opentelemetry.instrumentation 之前调用，每个进程一次（fork 之后）。

    采样跟随父级；根按 ``sample_ratio``。没有端点时一律不采样：跨度不记录，只有号（日志、tb_task、API 回答要用）。
    """
    os.environ.setdefault(SEMCONV_OPT_IN, "http,database")
    drops = SpanDrops()
    exports = export_endpoint(os.environ) is not None
    provider = Provider(_sampler(config, exports=exports), _resource(config, process), drops)
    if exports:
        # 导出器连带 requests 与 protobuf，不导出就不必载入
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 见上

        provider.add_span_processor(_BoundedProcessor(OTLPSpanExporter(timeout=EXPORT_TIMEOUT), drops))
    trace.set_tracer_provider(provider)
    return Telemetry(provider)


def _sampler(config: TelemetryConfig, *, exports: bool) -> Sampler:
    if not exports:
        return ALWAYS_OFF
    return ParentBased(TraceIdRatioBased(config.sample_ratio))


def _resource(config: TelemetryConfig, process: str) -> Resource:
    return Resource.create(
        {
            "service.name": f"kaguan-{process}",
            "service.namespace": config.service_namespace,
            "service.version": version("kaguan"),
            "service.instance.id": str(uuid4()),
            "host.name": socket.gethostname(),
            "process.pid": os.getpid(),
        }
    )
