"""处理器共用的：配置、Redis、指标，以及各运营商的网关与记状态的办法。"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kaguan.carriers.build import open_gateways
from kaguan.sims.events import ChangeEvents
from kaguan.telemetry.metrics import BREAKER_STATES, observe
from workers.sync.statuses import StatusRecorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from redis.asyncio import Redis

    from kaguan.carriers.gateway import CarrierGateway
    from kaguan.config import Settings
    from kaguan.sims.model import Carrier
    from kaguan.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Resources:
    """打开处理器时取用；连接在离开 :func:`open_resources` 时关闭。"""

    settings: Settings
    redis: Redis
    metrics: Metrics
    gateways: Mapping[Carrier, CarrierGateway]
    statuses: StatusRecorder


@asynccontextmanager
async def open_resources(settings: Settings, redis: Redis, metrics: Metrics) -> AsyncIterator[Resources]:
    """打开运营商的网关，接上指标。"""

    def carrier_called(carrier: str, operation: str, outcome: str, seconds: float) -> None:
        metrics.carrier_calls.labels(carrier, operation, outcome).inc()
        observe(metrics.carrier_seconds.labels(carrier, operation), seconds)

    def breaker_changed(carrier: str, state: str) -> None:
        metrics.breaker_state.labels(carrier).set(BREAKER_STATES[state])

    def unknown_codes(carrier: str, count: int) -> None:
        metrics.carrier_unknown_codes.labels(carrier).inc(count)

    async with open_gateways(settings.carriers, redis, carrier_called, breaker_changed) as gateways:
        for carrier in gateways:
            metrics.carrier_unknown_codes.labels(carrier)  # 从 0 起：第一次也看得见
        events = ChangeEvents(settings.tasks.max_retries + 1) if settings.webhooks.url else None
        yield Resources(settings, redis, metrics, gateways, StatusRecorder(events, unknown_codes))
