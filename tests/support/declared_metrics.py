"""各处声明的全部指标，登记在一处：与文档、看板、规则比对用。"""

from __future__ import annotations

from prometheus_client.metrics import MetricWrapperBase

from api.http.metrics import HttpMetrics
from kaguan.database.server import ServerMetrics
from kaguan.database.standbys import StandbyMetrics
from kaguan.mail.waiting import WaitingMetrics
from kaguan.outbox.metrics import Metrics
from kaguan.telemetry.metrics import Declaring
from kaguan.telemetry.monitor import ProcessMetrics
from workers.email.metrics import MailMetrics
from workers.metrics import OutsideMetrics

OF_THE_APPLICATION = (
    ProcessMetrics,
    HttpMetrics,
    OutsideMetrics,
    MailMetrics,
    WaitingMetrics,
    StandbyMetrics,
    ServerMetrics,
)


def everywhere() -> tuple[Declaring, ...]:
    """每一处各一份；头一份是协议的。"""
    metrics = Metrics()
    return (metrics, *(declaring(metrics.registry) for declaring in OF_THE_APPLICATION))


def collectors() -> dict[str, MetricWrapperBase]:
    """属性名 → 指标。"""
    return {
        name: value
        for declaring in everywhere()
        for name, value in vars(declaring).items()
        if isinstance(value, MetricWrapperBase)
    }
