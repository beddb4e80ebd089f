"""在等中继主机恢复的信：几封，最久的等了多久。协议只知道有等外面的，不知道等的是谁。"""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from kaguan.breakers.board import BreakerKind
from kaguan.database.pool import Pool
from kaguan.outbox.operate.backlog import CAP
from kaguan.outbox.work import waiting
from kaguan.telemetry.metrics import Declaring

INTERVAL = 15.0  # 秒：Prometheus 平常也是这么久看一次


class WaitingMetrics(Declaring):
    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.smtp_waiting = self._gauge("kaguan_smtp_waiting_mails", "在等中继主机恢复的信，数到上限为止")
        self.smtp_oldest_wait = self._gauge("kaguan_smtp_oldest_wait_seconds", "等中继主机恢复等得最久的信等了多久")

    async def publish(self, pool: Pool) -> int:
        """采一次；返回 0：没有什么要转交去做。"""
        async with pool.connection() as connection:
            mails = await waiting.waiting(connection, BreakerKind.SMTP, CAP)
        self.smtp_waiting.set(mails.waiting)
        self.smtp_oldest_wait.set(mails.oldest or 0.0)
        return 0
