"""``traceparent`` 的读法：与官方传播器一致。"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from kaguan.telemetry.propagation import context_from

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
        theirs.trace_id,
        theirs.span_id,
        theirs.trace_flags,
        theirs.is_remote,
    )
