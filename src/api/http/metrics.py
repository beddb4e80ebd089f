"""HTTP 的指标，与听不听得见通知。"""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from kaguan.telemetry.metrics import Declaring

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10)


class HttpMetrics(Declaring):
    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.http = self._histogram(
            "kaguan_http_request_seconds", "HTTP 请求", "method", "route", "status", buckets=BUCKETS
        )
        self.rate_limited = self._counter("kaguan_http_rate_limited", "被限流拒绝的请求", "scope")
        self.listener_deaf = self._gauge(
            "kaguan_listener_deaf", "监听连接听不见自己按的铃（1）：多半经了事务模式的连接池", "channel"
        )
