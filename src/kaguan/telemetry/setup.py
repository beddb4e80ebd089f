"""跟踪的提供者：采样、导出、有界的停机。只有给了 OTLP 端点才导出；没有端点时跨度不被记录，但 trace_id 仍在。"""

from __future__ import annotations

import os
import socket
from importlib.metadata import version
from typing import TYPE_CHECKING
from uuid import uuid4

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource

from kaguan.telemetry.recording import RecordedSpan, RecordingProvider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaguan.config.model import Telemetry as TelemetryConfig
    from kaguan.telemetry.export import SpanExport

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SHUTDOWN_TIMEOUT = 5.0  # 秒；端点不通也不许拖住停机


class Provider(RecordingProvider):
    """本进程的提供者；没有端点就没有 ``export``，也就一律不采样。"""

    def __init__(self, ratio: float, export: SpanExport | None) -> None:
        self.export = export
        super().__init__(None if export is None else ratio, _discard if export is None else export.put)


class Telemetry:
    """本进程的跟踪。调用它即停机：至多 :data:`SHUTDOWN_TIMEOUT` 秒，可重复调用。"""

    def __init__(self, export: SpanExport | None) -> None:
        self._export = export

    def __call__(self) -> None:
        export, self._export = self._export, None
        if export is not None:
            export.stop(SHUTDOWN_TIMEOUT)


def spans_dropped() -> int:
    """本进程因队列满或导出失败而丢掉的跨度数。"""
    provider = trace.get_tracer_provider()
    return provider.export.dropped if isinstance(provider, Provider) and provider.export is not None else 0


def export_endpoint(environ: Mapping[str, str]) -> str | None:
    """OTLP 端点；两个标准变量都没给（或为空）则不导出。"""
    return next((environ[name] for name in ENDPOINTS if environ.get(name)), None)


def configure_telemetry(config: TelemetryConfig, process: str) -> Telemetry:
    """设好全局的 TracerProvider。每个进程一次（fork 之后）。

    采样跟随父级；根按 ``sample_ratio``。没有端点时一律不采样：跨度不记录，只有号（日志、tb_task、API 回答要用）。
    """
    export: SpanExport | None = None
    if export_endpoint(os.environ) is not None:
        # 导出器连带 requests 与 protobuf，不导出就不必载入
        from kaguan.telemetry.export import OtlpSender, SpanExport  # noqa: PLC0415 见上

        export = SpanExport(_resource(config, process).attributes, OtlpSender())
        export.start()
    trace.set_tracer_provider(Provider(config.sample_ratio, export))
    return Telemetry(export)


def _discard(_span: RecordedSpan) -> None:
    """没有端点就没有被记录的跨度。"""


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
