"""采样：比例与 SDK 一致，往下跟着父级，出了岔子的一律留；没被采样而失败的单独送出。"""

from __future__ import annotations

from time import time_ns

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, TraceIdRatioBased
from opentelemetry.trace import Link, SpanKind, StatusCode, set_span_in_context, use_span

from kaguan.telemetry.propagation import context_from, failed_traceparent, link_from, sampled_trace_of
from kaguan.telemetry.sampling import FaultProvider, FaultSampler
from kaguan.telemetry.setup import exporter_names
from kaguan.telemetry.spans import record_error
from kaguan.telemetry.unsampled import KEPT, Spans

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = f"{SAMPLED[:-2]}00"


def spans(ratio: float | None, exporter: InMemorySpanExporter | None = None) -> Spans:
    """``ratio`` 是 None 就一律不要。"""
    provider = FaultProvider(ALWAYS_OFF if ratio is None else FaultSampler(ratio))
    if exporter is not None:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Spans("tests", provider)


def link(traceparent: str) -> Link:
    found = link_from(traceparent)
    assert found is not None
    return found


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_roots_are_sampled_exactly_as_the_sdk_would(ratio: float) -> None:
    theirs, ours = TraceIdRatioBased(ratio), spans(ratio)
    for _ in range(500):
        context = ours.start("a", Context(), SpanKind.INTERNAL).get_span_context()
        expected = theirs.should_sample(None, context.trace_id, "a").decision
        assert context.trace_flags.sampled is (expected is Decision.RECORD_AND_SAMPLE)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_children_follow_their_parent(ratio: float) -> None:
    for traceparent in (SAMPLED, UNSAMPLED):
        remote = spans(ratio).start("a", context_from(traceparent), SpanKind.INTERNAL)
        assert remote.get_span_context().trace_flags.sampled is (traceparent == SAMPLED)
        assert f"{remote.get_span_context().trace_id:032x}" == SAMPLED[3:35]


def test_what_is_known_to_have_gone_wrong_is_sampled_and_so_is_all_below_it() -> None:
    for context in (Context(), context_from(UNSAMPLED)):
        span = spans(0.0).start("a", context, SpanKind.INTERNAL, {KEPT: "retry"})
        assert span.get_span_context().trace_flags.sampled
        below = spans(0.0).start("b", set_span_in_context(span), SpanKind.INTERNAL)
        assert below.get_span_context().trace_flags.sampled


def test_a_root_linked_to_a_sampled_trace_is_sampled() -> None:
    links = [link(UNSAMPLED), link(SAMPLED)]
    for given, sampled in ((links, True), (links[:1], False)):
        span = spans(0.0).start("send", Context(), SpanKind.CLIENT, links=given)
        assert span.get_span_context().trace_flags.sampled is sampled


def test_an_unsampled_span_that_fails_is_sent_as_it_was() -> None:
    exporter = InMemorySpanExporter()
    began = time_ns()
    span = spans(0.0, exporter).start("a", context_from(UNSAMPLED), SpanKind.CONSUMER, {"x": 1}, [link(UNSAMPLED)])
    assert span.is_recording()
    record_error(span, "Discard")
    span.end()
    span.end()
    assert not span.is_recording()
    (sent,) = exporter.get_finished_spans()
    context = sent.get_span_context()
    assert context is not None
    assert context.trace_flags.sampled
    assert (context.trace_id, context.span_id) == (span.get_span_context().trace_id, span.get_span_context().span_id)
    assert sent.parent is not None
    assert f"{sent.parent.span_id:016x}" == UNSAMPLED[36:52]
    assert dict(sent.attributes or {}) == {"x": 1, "error.type": "Discard", KEPT: "error"}
    assert (sent.name, sent.kind, len(sent.links)) == ("a", SpanKind.CONSUMER, 1)
    assert sent.start_time is not None
    assert sent.end_time is not None
    assert began <= sent.start_time <= sent.end_time <= time_ns()
    assert sent.status.status_code is StatusCode.ERROR


def test_an_unsampled_span_that_ends_well_is_not_sent_unless_it_says_why_it_should_be() -> None:
    exporter = InMemorySpanExporter()
    ours = spans(0.0, exporter)
    ours.start("well", Context(), SpanKind.INTERNAL).end()
    fenced = ours.start("fenced", Context(), SpanKind.INTERNAL)
    fenced.set_attribute(KEPT, "fenced")
    fenced.end()
    assert [(span.name, dict(span.attributes or {})) for span in exporter.get_finished_spans()] == [
        ("fenced", {KEPT: "fenced"})
    ]


def test_what_another_sampler_refuses_is_not_sent_even_when_it_fails() -> None:
    exporter = InMemorySpanExporter()
    span = spans(None, exporter).start("a", Context(), SpanKind.INTERNAL)
    record_error(span, "Discard")
    span.end()
    assert not span.is_recording()
    assert exporter.get_finished_spans() == ()


def test_an_unsampled_fault_says_where_it_comes_from_as_a_sampled_span_does() -> None:
    exporter = InMemorySpanExporter()
    for ratio in (0.0, 1.0):
        span = spans(ratio, exporter).start("a", Context(), SpanKind.INTERNAL)
        record_error(span, "Discard")
        span.end()
    unsampled, sampled = exporter.get_finished_spans()
    assert unsampled.resource == sampled.resource
    assert unsampled.instrumentation_scope == sampled.instrumentation_scope


def test_a_sampled_span_is_sent_unchanged() -> None:
    exporter = InMemorySpanExporter()
    span = spans(1.0, exporter).start("a", Context(), SpanKind.INTERNAL)
    record_error(span, "Discard")
    span.end()
    (sent,) = exporter.get_finished_spans()
    assert dict(sent.attributes or {}) == {"error.type": "Discard"}


def test_the_traceparent_of_a_failure_leads_to_a_trace_that_is_there() -> None:
    span = spans(0.0).start("a", context_from(UNSAMPLED), SpanKind.INTERNAL)
    with use_span(span):
        assert sampled_trace_of(failed_traceparent()) == SAMPLED[3:35]
    assert [sampled_trace_of(f"{SAMPLED[:-2]}{flags}") for flags in ("00", "02", "03")] == [None, None, SAMPLED[3:35]]
    assert sampled_trace_of("garbage") is None
    assert failed_traceparent() is None  # 不在任何跨度里


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, ()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, ("otlp_proto_http",)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a"}, ("otlp_proto_http",)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, ()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_TRACES_EXPORTER": "none"}, ()),
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, ("otlp_proto_http", "console")),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ("otlp_proto_grpc",)),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"}, ()),
    ],
    ids=str,
)
def test_the_exporters_are_those_the_environment_names(environ: dict[str, str], names: tuple[str, ...]) -> None:
    assert exporter_names(environ) == names
