"""组装各家网关：会话、限额、受护通道、方言。"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from redis.asyncio import Redis

from kaguan.carriers import control_center, onelink
from kaguan.carriers.control_center import ControlCenterGateway
from kaguan.carriers.gateway import Capabilities, CarrierGateway
from kaguan.carriers.guarded import BreakerChanged, GuardedTransport, Observe
from kaguan.carriers.interim import bounded_connector
from kaguan.carriers.limiter import SharedLimits
from kaguan.carriers.onelink import OneLinkGateway
from kaguan.config.model import Carriers, ControlCenter, OneLink
from kaguan.sims.vocabulary import Carrier

LEASE_MARGIN = 5.0  # 秒；并发租约比请求时限长这么多，容得下等速率的工夫


@asynccontextmanager
async def open_gateways(
    config: Carriers, redis: Redis | None, observe: Observe | None = None, breaker_changed: BreakerChanged | None = None
) -> AsyncIterator[Mapping[Carrier, CarrierGateway]]:
    """打开已配置（``base_url`` 非空）的各家网关；离开时关闭连接。

    Args:
        config: 运营商配置。
        redis: 各进程共享限流用；``None`` 即只在本进程内限。
        observe: 指标钩子，每次 HTTP 调用一次。
        breaker_changed: 指标钩子，断路器每换一次状态一次。
    """
    async with aiohttp.ClientSession(connector=bounded_connector(), cookie_jar=aiohttp.DummyCookieJar()) as session:

        def transport(carrier: Carrier, part: OneLink | ControlCenter, limits: Capabilities) -> GuardedTransport:
            shared = SharedLimits(carrier, limits, part.timeout + LEASE_MARGIN, redis)
            channel = GuardedTransport(
                carrier=carrier,
                session=session,
                base_url=part.base_url,
                timeout=part.timeout,
                limits=shared,
                config=config,
                observe=observe,
            )
            if breaker_changed is not None:
                channel.watch_breaker(breaker_changed)
            return channel

        gateways: dict[Carrier, CarrierGateway] = {}
        if config.onelink.base_url:
            limits = onelink.capabilities(config.onelink)
            channel = transport(Carrier.ONELINK, config.onelink, limits)
            gateways[Carrier.ONELINK] = OneLinkGateway(config.onelink, channel)
        if config.control_center.base_url:
            limits = control_center.capabilities(config.control_center)
            channel = transport(Carrier.CONTROL_CENTER, config.control_center, limits)
            gateways[Carrier.CONTROL_CENTER] = ControlCenterGateway(config.control_center, channel)
        yield gateways
