"""声明指标的办法：各处声明自己的那一份，登记在进程的那个登记处（一张表在 docs/METRICS.md）。

不用全局的。时长单位一律秒；计数器输出时带 ``_total`` 后缀。
"""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kaguan.telemetry.propagation import sampled_trace_of

# 从 1 毫秒到 10 分钟：既看得清快路径，也装得下退避之后才成的任务
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)


class Declaring:
    """一处的指标，登记在 ``registry``。标签值必须是有限的集合：类型、队列、原因，从不是号码或文本。"""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str, buckets: Sequence[float] = LATENCY_BUCKETS) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)


def observe(histogram: Histogram, seconds: float, traceparent: str | None = None) -> None:
    """记一次时长，被采样的跟踪附上 exemplar。

    Args:
        histogram: 已带好标签的直方图。
        seconds: 时长；跨机时钟或舍入造成的负值按 0 记。
        traceparent: 这条消息的跟踪；不给就用当前跨度。
    """
    trace_id = _sampled_current() if traceparent is None else sampled_trace_of(traceparent)
    histogram.observe(max(seconds, 0.0), None if trace_id is None else {"trace_id": trace_id})


def _sampled_current() -> str | None:
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.trace_flags.sampled else None
