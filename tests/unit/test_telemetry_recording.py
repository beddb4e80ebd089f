"""跨度的记录：采样、父子、结束之后不再变；与官方 SDK、官方传播器的判断一致。"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from kaguan.telemetry import recording
from kaguan.telemetry.otlp import encode_span
from kaguan.telemetry.propagation import context_from
from kaguan.telemetry.recording import RecordedSpan, RecordingProvider

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = f"{SAMPLED[:-2]}00"


def tracer(ratio: float | None, ended: list[RecordedSpan] | None = None) -> Tracer:
    kept: list[RecordedSpan] = [] if ended is None else ended
    return RecordingProvider(ratio, kept.append).get_tracer("tests")


def recorded(ended: list[RecordedSpan] | None = None) -> RecordedSpan:
    span = tracer(1.0, ended).start_span("a", Context(), attributes={"x": 1})
    assert isinstance(span, RecordedSpan)
    return span


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_roots_are_sampled_exactly_as_the_sdk_would(ratio: float) -> None:
    sampler = TraceIdRatioBased(ratio)
    for _ in range(500):
        context = tracer(ratio).start_span("a", Context()).get_span_context()
        expected = sampler.should_sample(None, context.trace_id, "a").decision
        assert context.trace_flags.sampled is (expected is Decision.RECORD_AND_SAMPLE)
        assert context.is_valid


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_children_follow_their_parent(ratio: float) -> None:
    below_sampled = tracer(ratio).start_span("a", context_from(SAMPLED))
    below_unsampled = tracer(ratio).start_span("a", context_from(UNSAMPLED))
    assert below_sampled.is_recording()
    assert not below_unsampled.is_recording()
    for span in (below_sampled, below_unsampled):
        assert f"{span.get_span_context().trace_id:032x}" == SAMPLED[3:35]
    assert isinstance(below_sampled, RecordedSpan)
    assert below_sampled.parent is not None
    assert (f"{below_sampled.parent.span_id:016x}", below_sampled.parent.is_remote) == (SAMPLED[36:52], True)


def test_without_an_exporter_nothing_is_sampled_whatever_the_parent_says() -> None:
    for context in (Context(), context_from(SAMPLED)):
        span = tracer(None).start_span("a", context)
        assert (span.is_recording(), span.get_span_context().trace_flags.sampled) == (False, False)
        assert span.get_span_context().is_valid


def test_an_ended_span_is_delivered_once_and_changes_no_more() -> None:
    ended: list[RecordedSpan] = []
    span = recorded(ended)
    span.set_attributes({"y": "2"})
    span.end()
    span.set_attribute("z", 3)
    span.set_status(StatusCode.ERROR)
    span.add_event("late")
    span.end()
    assert ended == [span]
    assert (span.attributes, span.status, span.events) == ({"x": 1, "y": "2"}, StatusCode.UNSET, ())
    assert not span.is_recording()


def test_an_exception_leaves_its_type_and_not_its_message() -> None:
    ended: list[RecordedSpan] = []
    with pytest.raises(ValueError, match="alice"), tracer(1.0, ended).start_as_current_span("a", kind=SpanKind.CLIENT):
        raise ValueError("alice@example.com")
    (span,) = ended
    assert [(name, dict(attributes)) for name, _, attributes in span.events] == [
        ("exception", {"exception.type": "ValueError"})
    ]
    assert span.status is StatusCode.ERROR
    assert b"alice" not in encode_span(span)


def test_ok_is_final() -> None:
    span = recorded()
    span.set_status(Status(StatusCode.OK))
    span.set_status(StatusCode.ERROR)
    assert span.status is StatusCode.OK


def test_the_current_span_is_the_parent_and_attributes_are_copied() -> None:
    shared = {"x": 1}
    with tracer(1.0).start_as_current_span("outer", Context()) as outer:
        inner = tracer(1.0).start_span("inner", attributes=shared)
    assert isinstance(inner, RecordedSpan)
    assert inner.parent == outer.get_span_context()
    inner.set_attribute("y", 2)
    assert shared == {"x": 1}


def test_an_all_zero_id_is_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """W3C Trace Context §3.2.2：全零的号无效。"""
    monkeypatch.setattr(recording, "getrandbits", lambda _bits: 0)
    context = tracer(0.0).start_span("a", Context()).get_span_context()
    assert context == SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(0))
    assert context.is_valid


HEX = "0123456789abcdef"
PARTS = st.tuples(
    st.sampled_from(["00", "01", "ff", "cc", "0", "FF"]),
    st.text(HEX, min_size=31, max_size=33) | st.just("0" * 32),
    st.text(HEX, min_size=15, max_size=17) | st.just("0" * 16),
    st.sampled_from(["00", "01", "03", "ff", "1", "0g"]),
    st.sampled_from(["", "-", "-extra", " ", "\t", "x"]),
)


@given(st.one_of(st.text(max_size=60), PARTS.map(lambda parts: "-".join(parts[:4]) + parts[4])))
def test_traceparent_is_read_as_the_official_propagator_reads_it(text: str) -> None:
    official = TraceContextTextMapPropagator().extract({"traceparent": text}, context=Context())
    theirs = trace.get_current_span(official).get_span_context()
    ours = trace.get_current_span(context_from(text)).get_span_context()
    assert (ours.trace_id, ours.span_id, ours.trace_flags, ours.is_remote) == (
        theirs.trace_id, theirs.span_id, theirs.trace_flags, theirs.is_remote,
    )  # fmt: skip
