"""跟踪的提供者：OpenTelemetry SDK 的，标准的 ``OTEL_*`` 变量照用；我们的只有采样与有界的停机。

没有地方可送（没给 OTLP 端点，也没点名导出器）时一律不采样：跨度不记录，trace_id 仍在，日志、tb_task、API 回答要用。
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, cast
from uuid import uuid4

from opentelemetry import trace
from opentelemetry.environment_variables import OTEL_TRACES_EXPORTER
from opentelemetry.sdk import environment_variables as otel
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler

from kaguan.config import ConfigurationError
from kaguan.telemetry.sampling import FaultProvider, FaultSampler
from kaguan.telemetry.spans import SEND_LINKS

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from kaguan.telemetry.batching import CountingBatch

from kaguan.config.model import Telemetry as TelemetryConfig
from kaguan.words.log import get_logger
from kaguan.words.spoken import said

log = get_logger(__name__)

ENDPOINTS = (otel.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, otel.OTEL_EXPORTER_OTLP_ENDPOINT)
PROTOCOLS = (otel.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL, otel.OTEL_EXPORTER_OTLP_PROTOCOL)
EXPORTERS = "opentelemetry_traces_exporter"  # SDK 约定的入口点组：装了的导出器都在里面
HTTP = "otlp_proto_http"
QUEUE = 8_192  # 跨度；SDK 的 2 048 在全部采样时只是不到一秒的
SCHEDULE_DELAY = 1_000.0  # 毫秒；SDK 的 5 秒让人在查看器前等
SHUTDOWN_TIMEOUT = 5.0  # 秒；端点不通也不许拖住停机


class Provider(FaultProvider):
    """本进程的提供者；``batches`` 是每个导出器的队列，没有地方可送就是空的。"""

    def __init__(self, config: TelemetryConfig, process: str, batches: Sequence[CountingBatch]) -> None:
        self.batches = batches
        super().__init__(
            _sampler(config.sample_ratio) if batches else ALWAYS_OFF,
            _resource(config, process),
            span_limits=SpanLimits(max_links=None if otel.OTEL_SPAN_LINK_COUNT_LIMIT in os.environ else SEND_LINKS),
        )
        for batch in batches:
            self.add_span_processor(batch)


class Telemetry:
    """本进程的跟踪。调用它即停机：至多 :data:`SHUTDOWN_TIMEOUT` 秒，可重复调用。"""

    def __init__(self, provider: Provider) -> None:
        self._provider: Provider | None = provider

    def __call__(self) -> None:
        provider, self._provider = self._provider, None
        if provider is None or not provider.batches:
            return
        # SDK 的停机自己等 30 秒，且没有时限可给
        stopping = threading.Thread(target=provider.shutdown, name="span-shutdown", daemon=True)
        stopping.start()
        stopping.join(SHUTDOWN_TIMEOUT)
        for batch in provider.batches:
            batch.abandon()
        if dropped := spans_dropped(provider):
            log.warning("有跨度没有送出", dropped=dropped)


def spans_dropped(provider: trace.TracerProvider | None = None) -> int:
    """因队列满或导出失败而丢掉的跨度数；不给 ``provider`` 就是本进程的。"""
    provider = provider or trace.get_tracer_provider()
    return sum(batch.dropped for batch in provider.batches) if isinstance(provider, Provider) else 0


def configure_telemetry(config: TelemetryConfig, process: str) -> Telemetry:
    """设好全局的 TracerProvider。每个进程一次（fork 之后）。

    Raises:
        ConfigurationError: ``OTEL_*`` 变量的值不能用。
    """
    try:
        provider = Provider(config, process, _batches(os.environ))
    except ValueError as error:
        raise ConfigurationError(said("config.otel", error=error)) from error
    trace.set_tracer_provider(provider)
    return Telemetry(provider)


def exporter_names(environ: Mapping[str, str]) -> tuple[str, ...]:
    """要用哪些导出器，入口点的名字。

    ``OTEL_TRACES_EXPORTER`` 点了名的照它（``none`` 即不导出）；没点名，给了 OTLP 端点才用 OTLP：没人收就不必送。
    """
    if environ.get(otel.OTEL_SDK_DISABLED, "").strip().lower() == "true":
        return ()
    given = environ.get(OTEL_TRACES_EXPORTER) or ("otlp" if _first(environ, ENDPOINTS) else "none")
    names = [name.strip() for name in given.split(",")]
    protocol = (_first(environ, PROTOCOLS) or "http/protobuf").partition("/")[0]
    return tuple(f"otlp_proto_{protocol}" if name == "otlp" else name for name in names if name not in {"", "none"})


def _batches(environ: Mapping[str, str]) -> list[CountingBatch]:
    names = exporter_names(environ)
    if not names:
        return []
    # 导出连带 requests 与 protobuf，不导出就不必载入
    from kaguan.telemetry.batching import CountingBatch  # noqa: PLC0415 见上

    given = environ.get(otel.OTEL_BSP_MAX_QUEUE_SIZE) or str(QUEUE)
    if not given.isdecimal():
        raise ValueError(said("config.positive", key=otel.OTEL_BSP_MAX_QUEUE_SIZE, given=given))
    capacity = int(given)
    delay = None if environ.get(otel.OTEL_BSP_SCHEDULE_DELAY) else SCHEDULE_DELAY
    return [CountingBatch(_exporter(name), capacity, delay) for name in names]


def _exporter(name: str) -> SpanExporter:
    """入口点里叫这个名字的导出器；端点、头、时限、压缩、证书由它自己读 ``OTEL_EXPORTER_*``。"""
    found = next(iter(entry_points(group=EXPORTERS, name=name)), None)
    if found is None:
        raise ValueError(said("config.no_exporter", key=OTEL_TRACES_EXPORTER, name=name))
    if name == HTTP:
        from kaguan.telemetry.otlp import LeanExporter  # noqa: PLC0415 同上

        return LeanExporter()
    return cast("SpanExporter", found.load()())


def _sampler(ratio: float) -> Sampler | None:
    """``OTEL_TRACES_SAMPLER`` 明说了就全照它（None：SDK 自己读），「出岔子的一律留」不再作数。"""
    return None if os.environ.get(otel.OTEL_TRACES_SAMPLER) else FaultSampler(ratio)


def _resource(config: TelemetryConfig, process: str) -> Resource:
    """``OTEL_SERVICE_NAME``、``OTEL_RESOURCE_ATTRIBUTES`` 压过我们的。"""
    ours = Resource.create(
        {
            "service.name": f"kaguan-{process}",
            "service.namespace": config.service_namespace,
            "service.version": version("kaguan"),
            "service.instance.id": str(uuid4()),
            "host.name": socket.gethostname(),
            "process.pid": os.getpid(),
        }
    )
    return ours.merge(OTELResourceDetector().detect())


def _first(environ: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((environ[name] for name in names if environ.get(name)), None)
