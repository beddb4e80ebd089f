"""worker 对外调用的指标：运营商与断路器。"""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from kaguan.sims.vocabulary import Carrier
from kaguan.telemetry.metrics import Declaring

# 断路器状态的数值
BREAKER_STATES = {"closed": 0, "half-opened": 1, "opened": 2}


class OutsideMetrics(Declaring):
    """认不出的运营商码每家都从 0 数起：第一次也看得见。"""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.carrier_calls = self._counter(
            "kaguan_carrier_calls", "运营商调用，按结果", "carrier", "operation", "outcome"
        )
        self.carrier_seconds = self._histogram(
            "kaguan_carrier_call_seconds", "运营商调用的时长", "carrier", "operation"
        )
        self.breaker_state = self._gauge(
            "kaguan_breaker_state",
            "断路器：0 闭合 1 半开 2 断开；运营商（carrier）与中继主机（smtp）的都在",
            "kind",
            "name",
        )
        self.carrier_breaker_state = self._gauge(
            "kaguan_carrier_breaker_state", "运营商的断路器：0 闭合 1 半开 2 断开", "carrier"
        )
        self.carrier_unknown_codes = self._counter(
            "kaguan_carrier_unknown_codes", "认不出的运营商码：状态、在线与否、停机原因", "carrier"
        )
        for carrier in Carrier:
            self.carrier_unknown_codes.labels(carrier)
