"""OTLP 的字节：轻跨度直接写出来，别的照官方的编码。官方的为每个属性、每个跨度各造一个 protobuf 对象，与请求争同一把锁。

送的是官方的导出器：端点、头、证书、压缩、重试都照它的；只换掉编码这一步（docs/adr/0016）。
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import starmap
from struct import pack

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext

from kaguan.telemetry.sampling import LightSpan

PLAIN = (str, bool, int, float)
ONE_BYTE = 0x80  # 从这里起，长度要两个字节
# trace.proto：父级在不在远处，知道；在
KNOWN, REMOTE = 0x100, 0x200


class LeanExporter(OTLPSpanExporter):
    """官方的 OTLP/HTTP 导出器，编码是这里的。"""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._shutdown:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS if self._client.export(encode(spans)).success else SpanExportResult.FAILURE


def encode(spans: Sequence[ReadableSpan]) -> bytes:
    """``ExportTraceServiceRequest``：一个作用域一份。"""
    groups: defaultdict[tuple[int, InstrumentationScope | None], list[ReadableSpan]] = defaultdict(list)
    for span in spans:
        groups[id(span.resource), span.instrumentation_scope].append(span)
    return b"".join(map(_group, groups.values()))


def _group(spans: Sequence[ReadableSpan]) -> bytes:
    (resource,) = encode_spans(spans[:1]).resource_spans  # 资源与作用域照官方的，跨度另写
    (scope,) = resource.scope_spans
    del resource.scope_spans[:], scope.spans[:]
    written = scope.SerializeToString() + b"".join(_field(b"\x12", _span(span)) for span in spans)
    return _field(b"\x0a", resource.SerializeToString() + _field(b"\x12", written))


def _span(span: ReadableSpan) -> bytes:
    light = _light(span) if isinstance(span, LightSpan) and span.is_plain else None
    if light is not None:
        return light
    official: bytes = encode_spans([span]).resource_spans[0].scope_spans[0].spans[0].SerializeToString()
    return official


def _light(span: LightSpan) -> bytes | None:
    """``Span``；有写不来的值就是 None。"""
    context, parent, name = span.get_span_context(), span.parent, span.name.encode()
    attributes = span.attributes or {}
    if not all(isinstance(value, PLAIN) for value in attributes.values()):
        return None
    return b"".join(
        (
            _identity(context),
            b"" if parent is None else b"\x22\x08" + parent.span_id.to_bytes(8),
            b"\x2a" + _varint(len(name)) + name,
            b"\x30" + _varint(span.kind.value + 1),
            b"\x39" + pack("<Q", span.start_time) + b"\x41" + pack("<Q", span.end_time),
            *starmap(_attribute, attributes.items()),
            *[_field(b"\x6a", _link(link)) for link in span.links],
            b"\x7a\x02\x18" + _varint(code) if (code := span.status.status_code.value) else b"\x7a\x00",
            b"\x85\x01" + pack("<I", _flags(parent)),
        )
    )


def _identity(context: SpanContext) -> bytes:
    return b"\x0a\x10" + context.trace_id.to_bytes(16) + b"\x12\x08" + context.span_id.to_bytes(8)


def _link(link: Link) -> bytes:
    return _identity(link.context) + b"\x35" + pack("<I", _flags(link.context))


def _flags(context: SpanContext | None) -> int:
    return KNOWN | REMOTE if context is not None and context.is_remote else KNOWN


@lru_cache(maxsize=2_048, typed=True)  # 多半就是那几样；1、1.0 与真各是各的
def _attribute(key: str, value: object) -> bytes:
    """一个属性：``KeyValue``。"""
    match value:
        case str():
            text = value.encode("utf-8", "replace")
            written = b"\x0a" + _varint(len(text)) + text
        case bool():
            written = b"\x10\x01" if value else b"\x10\x00"
        case int():
            written = b"\x18" + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
        case _:
            written = b"\x21" + pack("<d", value)
    return _field(b"\x4a", _field(b"\x0a", key.encode()) + _field(b"\x12", written))


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    if number < ONE_BYTE:
        return _BYTES[number]
    return _BYTES[number & 0x7F | ONE_BYTE] + _varint(number >> 7)


_BYTES = tuple(bytes((number,)) for number in range(256))
