"""发信的指标。"""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from kaguan.telemetry.metrics import Declaring
from workers.email.receipt import Outage


class MailMetrics(Declaring):
    """等着的信每种缘由都从 0 数起：第一次也看得见。"""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.smtp = self._counter("kaguan_smtp_recipients", "邮件收件人，按结局", "outcome")
        self.smtp_outage_deferrals = self._counter(
            "kaguan_smtp_outage_deferrals",
            "因中继主机停摆而等着的信，按缘由：connect tls greeting login unavailable lost open",
            "reason",
        )
        self.smtp_seconds = self._histogram("kaguan_smtp_send_seconds", "一封信的 SMTP 会话时长")
        for reason in Outage:
            self.smtp_outage_deferrals.labels(reason)
