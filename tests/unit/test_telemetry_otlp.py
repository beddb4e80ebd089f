"""手写的 OTLP 编码：由官方的 protobuf 读回来，一个字段不差。"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from kaguan.telemetry.otlp import encode_request, encode_span
from kaguan.telemetry.recording import Constant, RecordedSpan

PARENT = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, is_remote=True)


def recorded(**changes: Any) -> RecordedSpan:
    facts: dict[str, Any] = {
        "name": "create email:send",
        "context": SpanContext(PARENT.trace_id, 2**63 + 5, is_remote=False, trace_flags=TraceFlags(1)),
        "parent": PARENT,
        "kind": SpanKind.PRODUCER,
        "attributes": {},
        "links": (),
        "scope": "kaguan",
        "deliver": lambda _span: None,
        "started": 1_700_000_000_000_000_001,
        **changes,
    }
    span = RecordedSpan(**facts)
    span.ended = span.started + 1_234_567
    return span


def decoded(span: RecordedSpan) -> trace_pb2.Span:
    group = trace_pb2.ScopeSpans()
    group.ParseFromString(encode_span(span))
    read: trace_pb2.Span = group.spans[0]
    return read


def values(attributes: Any) -> dict[str, Any]:
    found = {}
    for item in attributes:
        kind = item.value.WhichOneof("value")
        value = getattr(item.value, kind)
        found[item.key] = [member.string_value for member in value.values] if kind == "array_value" else value
    return found


def test_identity_times_and_kind() -> None:
    span = decoded(recorded())
    assert span.trace_id.hex() == f"{PARENT.trace_id:032x}"
    assert (span.span_id.hex(), span.parent_span_id.hex()) == (f"{2**63 + 5:016x}", f"{PARENT.span_id:016x}")
    assert (span.name, span.kind) == ("create email:send", trace_pb2.Span.SPAN_KIND_PRODUCER)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (
        1_700_000_000_000_000_001,
        1_700_000_000_001_234_568,
    )
    assert span.flags == trace_pb2.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
    root = decoded(recorded(parent=None))
    assert (root.parent_span_id, root.flags) == (b"", trace_pb2.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)


@pytest.mark.parametrize("kind", list(SpanKind))
def test_every_kind_has_its_number(kind: SpanKind) -> None:
    assert decoded(recorded(kind=kind)).kind == trace_pb2.Span.SpanKind.Value(f"SPAN_KIND_{kind.name}")


@given(
    st.dictionaries(
        st.text(max_size=200),
        st.one_of(
            st.text(max_size=400),
            st.booleans(),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(allow_nan=False),
            st.lists(st.text(max_size=20), min_size=1, max_size=200),
        ),
        max_size=20,
    )
)
def test_attributes_of_every_type_survive(attributes: dict[str, Any]) -> None:
    found = values(decoded(recorded(attributes=attributes)).attributes)
    assert found == attributes
    assert {key: type(value) for key, value in found.items()} == {key: type(v) for key, v in attributes.items()}


def test_what_protobuf_cannot_hold_is_replaced_not_raised() -> None:
    found = values(decoded(recorded(name="\udcff", attributes={"a": "\udcff", "b": object})).attributes)
    assert found["a"] == "?"
    assert "object" in found["b"]


def test_links_events_status_and_trace_state() -> None:
    linked = SpanContext(7, 8, is_remote=True)
    span = recorded(
        links=[Link(linked, {"why": "batch"})],
        context=SpanContext(1, 2, is_remote=False, trace_state=TraceState([("vendor", "x")])),
    )
    span.events = (("exception", 99, {"exception.type": "ValueError"}),)
    span.status = StatusCode.ERROR
    read = decoded(span)
    (link,), (event,) = read.links, read.events
    assert (int.from_bytes(link.trace_id), int.from_bytes(link.span_id)) == (7, 8)
    assert values(link.attributes) == {"why": "batch"}
    assert (event.name, event.time_unix_nano, values(event.attributes)) == (
        "exception", 99, {"exception.type": "ValueError"},
    )  # fmt: skip
    assert read.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    assert read.trace_state == "vendor=x"


def test_a_request_has_one_resource_and_a_group_per_scope() -> None:
    spans = [recorded(), recorded(scope="kaguan.http"), recorded()]
    scopes: dict[str, bytearray] = {}
    for span in spans:
        scopes.setdefault(span.scope, bytearray()).extend(encode_span(span))
    request = ExportTraceServiceRequest.FromString(encode_request({"service.name": "api", "process.pid": 7}, scopes))
    (group,) = request.resource_spans
    assert values(group.resource.attributes) == {"service.name": "api", "process.pid": 7}
    assert {scope.scope.name: len(scope.spans) for scope in group.scope_spans} == {"kaguan": 2, "kaguan.http": 1}


def test_shared_attributes_are_encoded_once_and_stay_with_every_span() -> None:
    shared = Constant({"http.request.method": "POST", "http.response.status_code": 202})
    spans = [recorded(attributes=shared) for _ in range(2)]
    spans[0].own["url.path"] = "/a"
    first, second = (values(decoded(span).attributes) for span in spans)
    assert first == {**shared, "url.path": "/a"} == spans[0].attributes
    assert second == {**shared} == spans[1].attributes
