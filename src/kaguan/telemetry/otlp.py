"""把跨度编成 OTLP（protobuf，opentelemetry-proto 1.9 的 trace.proto）。

官方的编码先为每个跨度、每个属性各造一个消息对象，占了导出的大半 CPU；这里直接写字节，重复的属性编一次记下来。
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind, StatusCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.trace import Link

    from kaguan.telemetry.recording import Constant, RecordedSpan

_KINDS = {
    SpanKind.INTERNAL: 1, SpanKind.SERVER: 2, SpanKind.CLIENT: 3, SpanKind.PRODUCER: 4, SpanKind.CONSUMER: 5,
}  # fmt: skip
_STATUS = {StatusCode.OK: b"\x7a\x02\x18\x01", StatusCode.ERROR: b"\x7a\x02\x18\x02"}  # status = 15，其中 code = 3
_TIMES = Struct("<BQBQ")  # start_time_unix_nano = 7，end_time_unix_nano = 8，都是 fixed64
_TIME = Struct("<BQ")
_DOUBLE = Struct("<Bd")
_IDS = Struct(">BBQQBBQ")  # trace_id = 1（16 字节），span_id = 2（8 字节）
_PARENT = Struct(">BBQ")  # parent_span_id = 4
_LOW_HALF = (1 << 64) - 1
_LOCAL, _REMOTE = (b"\x85\x01" + flags.to_bytes(4, "little") for flags in (0x100, 0x300))  # flags = 16，fixed32
_LINK_LOCAL, _LINK_REMOTE = (b"\x35" + flags.to_bytes(4, "little") for flags in (0x100, 0x300))  # 链接的 flags = 6
_ONE_BYTE = 0x80
_INT64 = 1 << 64
_REPEATED = 24  # 比它长的文本多半是号，记下来也用不上第二次


def encode_request(resource: Mapping[str, Any], scopes: Mapping[str, bytes | bytearray]) -> bytes:
    """ExportTraceServiceRequest：一个资源，按 scope 分组。

    Args:
        resource: 资源的属性。
        scopes: 每个 scope 的跨度，:func:`encode_span` 的结果首尾相接。
    """
    parts = [_field(b"\x0a", b"".join(_attribute(b"\x0a", key, value) for key, value in resource.items()))]
    parts.extend(
        _field(b"\x12", _field(b"\x0a", _field(b"\x0a", scope.encode())) + spans) for scope, spans in scopes.items()
    )
    return _field(b"\x0a", b"".join(parts))


def encode_span(span: RecordedSpan) -> bytes:
    """ScopeSpans 里的一个 Span，连同它的标签与长度。

    受理的热路径上每个请求有两个，所以一气写完：上下文当元组拆开，常见的属性与链接不再各调一个函数。
    """
    trace_id, span_id, _, _, trace_state, _ = span.context
    parent = span.parent
    parts = [
        _IDS.pack(0x0A, 16, trace_id >> 64, trace_id & _LOW_HALF, 0x12, 8, span_id),
        _head(span.name, span.kind),
        _TIMES.pack(0x39, span.started, 0x41, span.ended),
    ]
    if parent is None:
        parts.append(_LOCAL)
    else:
        parts += (_REMOTE if parent.is_remote else _LOCAL, _PARENT.pack(0x22, 8, parent.span_id))
    if trace_state:
        parts.append(_field(b"\x1a", trace_state.to_header().encode()))
    for constant in span.constants:
        parts.append(constant.encoded or _remember(constant))
    for key, value in span.own.items():
        if type(value) is str and len(value) > _REPEATED:
            text = value.encode("utf-8", "replace")
            parts += (_text_head(b"\x4a", key, len(text)), text)
        else:
            parts.append(_attribute(b"\x4a", key, value))
    if span.events:
        parts.extend(_field(b"\x5a", _event(*event)) for event in span.events)
    if span.links:
        parts.extend(map(_link, span.links))
    if span.status is not StatusCode.UNSET:
        parts.append(_STATUS[span.status])
    body = b"".join(parts)
    return _span_head(len(body)) + body


def _remember(constant: Constant) -> bytes:
    constant.encoded = b"".join(_attribute(b"\x4a", key, value) for key, value in constant.items())
    return constant.encoded


@lru_cache(maxsize=1_024)
def _head(name: str, kind: SpanKind) -> bytes:
    return _field(b"\x2a", name.encode("utf-8", "replace")) + b"\x30" + bytes((_KINDS[kind],))


def _event(name: str, at: int, attributes: Mapping[str, Any]) -> bytes:
    encoded = b"".join(_attribute(b"\x1a", key, value) for key, value in attributes.items())
    return _TIME.pack(0x09, at) + _field(b"\x12", name.encode("utf-8", "replace")) + encoded


def _link(link: Link) -> bytes:
    trace_id, span_id, is_remote, _, _, _ = link.context
    identity = _IDS.pack(0x0A, 16, trace_id >> 64, trace_id & _LOW_HALF, 0x12, 8, span_id)
    flags = _LINK_REMOTE if is_remote else _LINK_LOCAL
    if not link.attributes:  # 我们自己的都没有，长度也就固定
        return b"\x6a\x21" + identity + flags
    attributes = b"".join(_attribute(b"\x22", key, value) for key, value in link.attributes.items())
    return _field(b"\x6a", identity + attributes + flags)


def _attribute(tag: bytes, key: str, value: object) -> bytes:
    kind = type(value)
    if (kind is str and len(value) <= _REPEATED) or kind is int:  # type: ignore[arg-type] # 上面刚看过是 str
        return _repeated(tag, key, value)
    return _field(tag, _key(key) + _field(b"\x12", _value(value)))


@lru_cache(maxsize=4_096)
def _text_head(tag: bytes, key: str, length: int) -> bytes:
    """一个文本属性里，文本之前的全部字节；``length`` 是文本的字节数。"""
    start = _key(key) + b"\x12" + _varint(1 + len(_varint(length)) + length) + b"\x0a" + _varint(length)
    return tag + _varint(len(start) + length) + start


@lru_cache(maxsize=4_096)
def _span_head(length: int) -> bytes:
    return b"\x12" + _varint(length)


@lru_cache(maxsize=4_096)
def _repeated(tag: bytes, key: str, value: object) -> bytes:
    return _field(tag, _key(key) + _field(b"\x12", _value(value)))


@lru_cache(maxsize=1_024)
def _key(key: str) -> bytes:
    return _field(b"\x0a", key.encode())


def _value(value: object) -> bytes:
    """AnyValue 的内容；认不出的类型写成文本。"""
    match value:
        case str():
            return _field(b"\x0a", value.encode("utf-8", "replace"))
        case bool():
            return b"\x10\x01" if value else b"\x10\x00"
        case int():
            return b"\x18" + _varint(value % _INT64)
        case float():
            return _DOUBLE.pack(0x21, value)
        case list() | tuple():
            return _field(b"\x2a", _array(value))
        case _:
            return _field(b"\x0a", str(value).encode("utf-8", "replace"))


def _array(values: Sequence[object]) -> bytes:
    return b"".join(_field(b"\x0a", _value(value)) for value in values)


def _field(tag: bytes, content: bytes) -> bytes:
    """带长度的字段。"""
    length = len(content)
    return tag + (bytes((length,)) if length < _ONE_BYTE else _varint(length)) + content


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= _ONE_BYTE:
        encoded.append(number & 0x7F | _ONE_BYTE)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
