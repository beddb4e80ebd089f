"""组装各家网关：会话、限额、受护通道、方言。"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from redis.asyncio import Redis

from kaguan.carriers import control_center, onelink
from kaguan.carriers.dialect import C, Dialect
from kaguan.carriers.gateway import ChangingGateway
from kaguan.carriers.guarded import BreakerChanged, GuardedTransport, Observe
from kaguan.carriers.interim import bounded_connector
from kaguan.carriers.limiter import SharedLimits
from kaguan.config.model import Carriers
from kaguan.outbox.work.overrides import Overrides
from kaguan.sims.change_rules import Limits
from kaguan.sims.vocabulary import Carrier

DIALECTS = (onelink.DIALECT, control_center.DIALECT)
LEASE_MARGIN = 5.0  # 秒；并发租约比请求时限长这么多，容得下等速率的工夫


def change_limits(config: Carriers) -> Limits:
    """哪家改得了哪几样，一张卡一天至多改几次。"""
    return Limits({dialect.carrier: dialect.changes for dialect in DIALECTS}, config.changes_per_day)


@asynccontextmanager
async def open_gateways(
    config: Carriers,
    redis: Redis | None,
    observe: Observe | None = None,
    breaker_changed: BreakerChanged | None = None,
    overrides: Overrides | None = None,
) -> AsyncIterator[Mapping[Carrier, ChangingGateway]]:
    """打开已配置（``base_url`` 非空）的各家网关；离开时关闭连接。

    Args:
        config: 运营商配置。
        redis: 各进程共享限流用；``None`` 即只在本进程内限。
        observe: 指标钩子，每次 HTTP 调用一次。
        breaker_changed: 指标钩子，断路器每换一次状态一次。
        overrides: 运行中另定的限额；``None`` 即没有人另定。
    """
    async with aiohttp.ClientSession(connector=bounded_connector(), cookie_jar=aiohttp.DummyCookieJar()) as session:

        def opened(dialect: Dialect[C]) -> ChangingGateway | None:
            part = dialect.part(config)
            if not part.base_url:
                return None
            lease = part.timeout + LEASE_MARGIN
            shared = SharedLimits(dialect.carrier, dialect.capabilities(part), lease, redis, overrides)
            channel = GuardedTransport(
                carrier=dialect.carrier,
                session=session,
                base_url=part.base_url,
                timeout=part.timeout,
                limits=shared,
                config=config,
                observe=observe,
            )
            if breaker_changed is not None:
                channel.watch_breaker(breaker_changed)
            return dialect.gateway(part, channel)

        found = (opened(onelink.DIALECT), opened(control_center.DIALECT))
        yield {gateway.carrier: gateway for gateway in found if gateway is not None}
