"""OTLP 的 protobuf ↔ 我们存的与看的跨度。"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from sys import intern

import orjson
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # 库没有类型信息
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from kaguan.dev.traceview.store import LINK_OVERHEAD, SPAN_OVERHEAD, StoredSpan
from kaguan.outbox.spans import MESSAGE_ID
from kaguan.telemetry.unsampled import KEPT

Value = str | bool | int | float | bytes

SERVICE_NAME = "service.name"
UNKNOWN_SERVICE = "unknown_service"  # OTel 资源约定：没给 service.name 时的名字
TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8


class MalformedError(Exception):
    """请求体不是一份合格的 ExportTraceServiceRequest。"""


class Kind(IntEnum):
    """opentelemetry.proto.trace.v1.Span.SpanKind。"""

    UNSPECIFIED = 0
    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


@dataclass(frozen=True, slots=True)
class Event:
    """跨度里的一个时刻；``at_ns`` 为 Unix 纳秒。"""

    at_ns: int
    name: str
    attributes: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Link:
    trace_id: str
    span_id: str
    attributes: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Details:
    """一个跨度的全部细节。"""

    kind: Kind
    status: str  # UNSET / OK / ERROR
    status_message: str
    scope: str
    attributes: dict[str, Value]
    resource: dict[str, Value]
    events: tuple[Event, ...]
    links: tuple[Link, ...]


def received(body: bytes) -> list[StoredSpan]:
    """请求体里的跨度。

    Raises:
        MalformedError: 不是 protobuf，或跟踪号、跨度号长度不对。
    """
    try:
        batch = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        raise MalformedError("不是 ExportTraceServiceRequest") from None
    return list(_stored(batch))


def _stored(batch: ExportTraceServiceRequest) -> Iterator[StoredSpan]:
    for resource_spans in batch.resource_spans:
        resource = resource_spans.resource.SerializeToString()
        service = intern(str(_attributes(resource_spans.resource.attributes).get(SERVICE_NAME) or UNKNOWN_SERVICE))
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope.SerializeToString()
            shared = (len(resource) + len(scope)) // max(1, len(scope_spans.spans))
            for span in scope_spans.spans:
                yield _one(span, service, resource, scope, shared)


def _one(span: OtlpSpan, service: str, resource: bytes, scope: bytes, shared: int) -> StoredSpan:
    if len(span.trace_id) != TRACE_ID_BYTES or len(span.span_id) != SPAN_ID_BYTES:
        raise MalformedError("trace_id 须为 16 字节，span_id 须为 8 字节")
    content = span.SerializeToString()
    tasks = [_task(span.attributes), *(_task(link.attributes) for link in span.links)]
    return StoredSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        service=service,
        name=intern(span.name),
        start_ns=span.start_time_unix_nano,
        end_ns=max(span.start_time_unix_nano, span.end_time_unix_nano),
        failed=(failed := span.status.code == Status.STATUS_CODE_ERROR),
        kept=failed or any(pair.key == KEPT for pair in span.attributes),
        tasks=tuple(task for task in tasks if task),
        linked=tuple(link.trace_id.hex() for link in span.links),
        content=content,
        resource=resource,
        scope=scope,
        size=len(content) + shared + SPAN_OVERHEAD + len(span.links) * LINK_OVERHEAD,
    )


def _task(pairs: Iterable[KeyValue]) -> str:
    return next((pair.value.string_value for pair in pairs if pair.key == MESSAGE_ID), "")


def details(stored: StoredSpan) -> Details:
    span = OtlpSpan.FromString(stored.content)
    scope = InstrumentationScope.FromString(stored.scope)
    return Details(
        kind=Kind(span.kind) if span.kind in Kind.__members__.values() else Kind.UNSPECIFIED,
        status={Status.STATUS_CODE_OK: "OK", Status.STATUS_CODE_ERROR: "ERROR"}.get(span.status.code, "UNSET"),
        status_message=span.status.message,
        scope=scope.name,
        attributes=_attributes(span.attributes),
        resource=_attributes(Resource.FromString(stored.resource).attributes),
        events=tuple(Event(event.time_unix_nano, event.name, _attributes(event.attributes)) for event in span.events),
        links=tuple(Link(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes)) for link in span.links),
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Value:
    """标量原样；数组与映射写成 JSON 文本。"""
    plain = _plain(value)
    return orjson.dumps(plain, default=repr).decode() if isinstance(plain, (list, dict)) else plain


def _plain(value: AnyValue) -> Value | list[object] | dict[str, object]:
    match value.WhichOneof("value"):
        case "array_value":
            return [_plain(item) for item in value.array_value.values]
        case "kvlist_value":
            return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values}
        case None:
            return ""
        case which:
            scalar: Value = getattr(value, which)
            return scalar
