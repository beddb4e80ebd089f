"""处理器共用的：配置、Redis、指标，以及各运营商的网关与记状态的办法。"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from kaguan.breakers.board import BreakerBoard, BreakerKind, Changed
from kaguan.breakers.breaker import BreakerStatus
from kaguan.carriers.build import open_gateways
from kaguan.carriers.gateway import ChangingGateway
from kaguan.config import Settings
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.work.overrides import Overrides
from kaguan.sims.events import ChangeEvents
from kaguan.sims.vocabulary import Carrier
from kaguan.telemetry.metrics import observe
from workers.metrics import BREAKER_STATES, OutsideMetrics
from workers.statuses import StatusRecorder


@dataclass(frozen=True, slots=True)
class Resources:
    """打开处理器时取用；连接在离开 :func:`open_resources` 时关闭。

    Attributes:
        breaker_changed: 断路器换了状态就告诉它：记进指标，也写给别的进程看。
    """

    settings: Settings
    redis: Redis
    metrics: Metrics
    gateways: Mapping[Carrier, ChangingGateway]
    statuses: StatusRecorder
    breaker_changed: Changed


@asynccontextmanager
async def open_resources(
    settings: Settings, redis: Redis, metrics: Metrics, overrides: Overrides | None = None
) -> AsyncIterator[Resources]:
    """打开运营商的网关，接上指标；``overrides`` 是运行中另定的限额。"""
    board, outside_metrics = BreakerBoard(redis), OutsideMetrics(metrics.registry)

    def carrier_called(carrier: str, operation: str, outcome: str, seconds: float) -> None:
        outside_metrics.carrier_calls.labels(carrier, operation, outcome).inc()
        observe(outside_metrics.carrier_seconds.labels(carrier, operation), seconds)

    def breaker_changed(kind: BreakerKind, name: str, status: BreakerStatus) -> None:
        outside_metrics.breaker_state.labels(kind, name).set(BREAKER_STATES[status.state])
        board.changed(kind, name, status)

    def carrier_breaker_changed(carrier: Carrier, status: BreakerStatus) -> None:
        outside_metrics.carrier_breaker_state.labels(carrier).set(BREAKER_STATES[status.state])
        breaker_changed(BreakerKind.CARRIER, carrier, status)

    def unknown_codes(carrier: str, count: int) -> None:
        outside_metrics.carrier_unknown_codes.labels(carrier).inc(count)

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(board.publishing())
        gateways = await stack.enter_async_context(
            open_gateways(settings.carriers, redis, carrier_called, carrier_breaker_changed, overrides)
        )
        events = ChangeEvents(settings.tasks.max_attempts, metrics.count_accepted) if settings.webhooks.url else None
        yield Resources(settings, redis, metrics, gateways, StatusRecorder(events, unknown_codes), breaker_changed)
