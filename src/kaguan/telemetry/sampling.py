"""哪些跨度留下：新跟踪按比例，已在记的往下都记，出了岔子的一律留。

出岔子分两种。开始时就知道的（重试、重投、重放、对结局不明的邮件作决定）带着 :data:`KEPT` 开始，整条照记。做到一半才
知道的：没被采样的跨度也轻轻记着，结束时失败了的单独送出（:mod:`kaguan.telemetry.unsampled`）。
"""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

KEPT = "kaguan.trace.kept"  # 不凭比例留下的缘由：retry、redelivery、decision、fenced、error


class FaultSampler(Sampler):
    """父级定了的照父级，新的根按比例；带着 :data:`KEPT` 的、链接到被采样的跟踪的一律采样；其余不要。

    Args:
        ratio: 新的根采样的比例，0 到 1；与 SDK 的 ``TraceIdRatioBased`` 同一个判断，各进程一致。
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._bound = TraceIdRatioBased.get_bound_for_rate(ratio)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        del name, kind, trace_state
        parent = trace.get_current_span(parent_context).get_span_context()
        if parent.is_valid:
            sampled = parent.trace_flags.sampled
        else:
            sampled = trace_id & TraceIdRatioBased.TRACE_ID_LIMIT < self._bound
        if not sampled:
            kept = attributes is not None and KEPT in attributes
            sampled = kept or any(link.context.trace_flags.sampled for link in links or ())
        decision = Decision.RECORD_AND_SAMPLE if sampled else Decision.DROP
        return SamplingResult(decision, attributes, parent.trace_state)

    def get_description(self) -> str:
        return f"FaultSampler{{{self._ratio}}}"
