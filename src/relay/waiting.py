"""在等中继主机恢复的信有几封、等了多久：relay 采积压时一并采。"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaguan.breaker_board import BreakerKind
from kaguan.outbox.relay.backlog import Waiting
from kaguan.telemetry.metrics import Declaring

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class WaitingMetrics(Declaring):
    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.smtp_waiting = self._gauge("kaguan_smtp_waiting_mails", "在等中继主机恢复的信，数到上限为止")
        self.smtp_oldest_wait = self._gauge("kaguan_smtp_oldest_wait_seconds", "等中继主机恢复等得最久的信等了多久")


def waiting_mails(registry: CollectorRegistry) -> Waiting:
    metrics = WaitingMetrics(registry)
    return Waiting(BreakerKind.SMTP, metrics.smtp_waiting, metrics.smtp_oldest_wait)
