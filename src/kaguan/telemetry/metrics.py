"""协议的指标，与各处声明自己那一份的办法（全部的一张表在 docs/METRICS.md，由测试与声明比对）。

每个进程一个登记处，由组合根建好、往下传；不用全局的。时长单位一律秒；计数器输出时带 ``_total`` 后缀。
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from kaguan.telemetry.propagation import sampled_trace_of

# 从 1 毫秒到 10 分钟：既看得清快路径，也装得下退避之后才成的任务
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)

# 重投的全部原因，也是 tb_task_event 里的 cause
REDRIVE_CAUSES = ("lease_expired", "worker_stopped", "queue_forgot", "no_outbox_row", "redis_lost_data", "history_cut")


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


class Metrics(Declaring):
    """协议的指标，与一个进程的登记处；应用自己的声明在同一个登记处。

    ``types`` 是要从 0 数起的任务类型。
    """

    def __init__(self, types: Iterable[str] = ()) -> None:
        super().__init__(CollectorRegistry(auto_describe=True))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._declare_pipeline()
        self._declare_exceptions()
        self._declare_latencies()
        self._declare_backlog()
        self._start_at_zero(types)

    def _declare_pipeline(self) -> None:
        self.accepted = self._counter("kaguan_tasks_accepted", "受理的任务", "type", "queue")
        self.relayed = self._counter("kaguan_tasks_relayed", "relay 交给队列的投递", "type", "queue")
        self.started = self._counter("kaguan_tasks_started", "worker 认领并开始的尝试", "type", "queue")
        self.settled = self._counter(
            "kaguan_tasks_settled",
            "结算的尝试：succeeded failed retrying uncertain cancelled",
            "type",
            "queue",
            "outcome",
        )
        self.retried = self._counter("kaguan_tasks_retried", "排定的重试", "type", "queue")

    def _declare_exceptions(self) -> None:
        self.redriven = self._counter("kaguan_tasks_redriven", "重投，按原因", "cause")
        self.leases_lost = self._counter("kaguan_leases_lost", "到期未续的租约")
        self.fenced_writes = self._counter("kaguan_fenced_writes", "隔离令牌挡住的写入", "type")
        self.duplicates_suppressed = self._counter("kaguan_duplicates_suppressed", "认领不到而安静丢弃的投递", "type")
        self.history_cuts = self._counter("kaguan_history_cuts", "PostgreSQL 的历史断过几次")
        self.vanished = self._counter("kaguan_vanished_deliveries", "任务已不在 PostgreSQL 里的投递", "type")
        self.uncertain = self._counter("kaguan_tasks_uncertain", "结局不明的任务", "type")
        self.parked = self._counter("kaguan_outbox_parked", "搁置的毒丸行", "type")

    def _declare_latencies(self) -> None:
        self.commit_to_relay = self._histogram(
            "kaguan_commit_to_relay_seconds", "到期（提交）到交给队列", "type", "queue"
        )
        self.relay_to_start = self._histogram("kaguan_relay_to_start_seconds", "交给队列到开始处理", "type", "queue")
        self.run = self._histogram("kaguan_task_run_seconds", "一次尝试的处理时间", "type")
        self.accept_to_effect = self._histogram("kaguan_accept_to_effect_seconds", "受理到效果提交", "type")
        self.relay_batch = self._histogram(
            "kaguan_relay_batch_size", "relay 一批的行数", buckets=(1, 3, 10, 30, 100, 300, 1_000, 3_000)
        )

    def _declare_backlog(self) -> None:
        self.oldest_pending = self._gauge("kaguan_outbox_oldest_pending_seconds", "最老的到期行等了多久", "queue")
        self.backlog = self._gauge("kaguan_outbox_backlog", "待交付的行，数到上限为止", "queue")
        self.claims_stopped = self._gauge("kaguan_claims_stopped", "PostgreSQL 的历史没有核对完，不认领也不交出（1）")
        self.outbox_parked_rows = self._gauge("kaguan_outbox_parked_rows", "仍搁置着的行，数到上限为止")
        self.places_waiting = self._gauge("kaguan_places_waiting_tasks", "在等名额的任务，封顶", "place")
        self.places_oldest = self._gauge("kaguan_places_oldest_wait_seconds", "等名额等得最久的等了多久", "place")
        self.unsettled = self._gauge(
            "kaguan_tasks_unsettled", "交出未结算的任务，与排在同键之后的（ordered），封顶", "status"
        )

    def _start_at_zero(self, types: Iterable[str]) -> None:
        """例外的计数一开始就是 0：序列若一出现就是 1，``increase()`` 看不见第一次，「结局不明」就不会告警。

        见 https://prometheus.io/docs/practices/instrumentation/#avoid-missing-metrics
        """
        for kind in types:
            for counter in (
                self.fenced_writes,
                self.duplicates_suppressed,
                self.vanished,
                self.uncertain,
                self.parked,
            ):
                counter.labels(kind)
        for cause in REDRIVE_CAUSES:
            self.redriven.labels(cause)

    def count_accepted(self, task_type: str, queue: str, count: int) -> None:
        """受理并已提交的任务，不论从哪里来：HTTP、同一事务里的邮件与事件、定时计划。"""
        self.accepted.labels(task_type, queue).inc(count)


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
