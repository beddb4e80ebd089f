"""自己写的 OTLP 字节与官方的编码读回来一样，一位不差。"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.util.types import AnyValue

from kaguan.telemetry.otlp import encode
from kaguan.telemetry.sampling import FaultProvider, FaultSampler
from kaguan.telemetry.unsampled import Opening

CONTEXTS = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.just(TraceFlags(TraceFlags.SAMPLED)),
    trace_state=st.sampled_from([TraceState(), TraceState([("a", "b")])]),
)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
VALUES = st.text(max_size=300) | st.booleans() | NUMBERS | st.lists(st.text())
ATTRIBUTES = st.dictionaries(st.text(min_size=1, max_size=200), VALUES, max_size=6)
STATUSES = st.sampled_from([Status(), Status(StatusCode.OK), Status(StatusCode.ERROR), Status(StatusCode.ERROR, "why")])


def recorded(limits: SpanLimits | None = None) -> tuple[FaultProvider, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = FaultProvider(FaultSampler(1.0), span_limits=limits)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def read(request: ExportTraceServiceRequest) -> list[tuple[object, object, object]]:
    """每个跨度，连同它的资源与作用域。"""
    return [
        (resource.resource, scope.scope, span)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def both(spans: Sequence[ReadableSpan]) -> None:
    ours, official = read(ExportTraceServiceRequest.FromString(encode(spans))), read(encode_spans(spans))
    assert ours == official


@given(st.text(max_size=300), CONTEXTS, st.sampled_from(SpanKind), ATTRIBUTES, st.lists(CONTEXTS, max_size=3), STATUSES)
def test_a_light_span_reads_as_the_official_encoding_of_it(
    name: str,
    parent: SpanContext,
    kind: SpanKind,
    attributes: dict[str, AnyValue],
    linked: list[SpanContext],
    status: Status,
) -> None:
    provider, exporter = recorded()
    for above in (parent, SpanContext(0, 0, is_remote=False)):
        span = provider.light(above, Opening("tests", name, kind, attributes, list(map(Link, linked)), None), None)
        span.set_status(status)
        span.end()
    both(exporter.get_finished_spans())


@pytest.mark.parametrize("limits", [SpanLimits(max_attribute_length=2), SpanLimits(max_attributes=1, max_links=1)])
def test_spans_of_the_sdk_and_those_cut_short_read_the_same(limits: SpanLimits) -> None:
    provider, exporter = recorded(limits)
    root = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1))
    given = {"a": "long", "b": "longer"}
    opening = Opening("tests", "cut", SpanKind.CLIENT, given, [Link(root), Link(root)], None)
    provider.light(root, opening, None).end()
    with provider.get_tracer("another").start_as_current_span("sdk", attributes=given) as span:
        span.add_event("seen", {"x": 1})
    (cut, _) = spans = exporter.get_finished_spans()
    assert (dict(cut.attributes or {}), len(cut.links)) in [({"a": "lo", "b": "lo"}, 2), ({"b": "longer"}, 1)]
    both(spans)
