"""应用里共享的东西：每样一个带类型的键，没有全局变量。"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from api.http.metrics import HttpMetrics
from kaguan.config import Settings
from kaguan.database.pool import Pool
from kaguan.outbox.metrics import Metrics
from kaguan.verdict.patience import SHIPPED, Patience


@dataclass(frozen=True, slots=True)
class Services:
    """进程启动时建好、交给应用的东西。应用不拥有它们：谁打开谁关闭。

    Attributes:
        ring: 提交之后按门铃（合并、不阻塞、不抛异常）；没有中继可叫时什么都不做。
        patience: 看一眼各等多久。
    """

    settings: Settings
    pool: Pool
    engine: AsyncEngine
    redis: Redis
    metrics: Metrics
    http_metrics: HttpMetrics
    ring: Callable[[], None]
    patience: Patience = SHIPPED


SERVICES = web.AppKey("SERVICES", Services)
SETTINGS = web.AppKey("SETTINGS", Settings)
