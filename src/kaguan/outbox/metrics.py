"""协议的指标（全部的一张表在 docs/METRICS.md，由测试与声明比对）。

一个进程一个登记处，由组合根建好、往下传；应用自己的声明在同一个登记处。
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from kaguan.telemetry.metrics import Declaring

# 重投的全部原因，也是 tb_task_event 里的 cause
REDRIVE_CAUSES = ("lease_expired", "worker_stopped", "queue_forgot", "no_outbox_row", "redis_lost_data", "history_cut")


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
        self.paused = self._gauge("kaguan_paused_tasks", "停着的任务，按暂停管的是什么，封顶", "scope")
        self.paused_oldest = self._gauge("kaguan_paused_oldest_seconds", "停着的里面停得最久的停了多久", "scope")
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
