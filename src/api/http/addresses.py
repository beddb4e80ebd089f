"""按地址限流：先于认证，没有的路径、猜令牌的请求也受限。"""

from __future__ import annotations

from aiohttp import web

from api.http.context import Context
from api.http.limits import Counter, Limiter, LocalCounter
from api.http.metrics import HttpMetrics
from kaguan.words.errors import DomainError


class Addresses:
    """每个地址每秒至多 ``per_second`` 个请求，计数在 ``counter``。"""

    def __init__(self, per_second: int, counter: Counter | LocalCounter, metrics: HttpMetrics) -> None:
        self._metrics = metrics
        self._per_address = Limiter("address", per_second, counter)
        # 探测另有一份额度，不与业务争，也不为记它去碰 Redis
        self._per_prober = Limiter("health", per_second, LocalCounter())

    async def admit(self, context: Context) -> None:
        """业务的请求。

        Raises:
            DomainError: 1006。
        """
        if not take(context, self._per_address, context.address):
            await limit(context, self._per_address, context.address, self._metrics)

    async def admit_prober(self, context: Context) -> None:
        """健康检查：与业务分开计，同一个 NAT 后面的业务再忙也不误探测。

        Raises:
            DomainError: 1006。
        """
        await limit(context, self._per_prober, context.address, self._metrics)


def take(context: Context, limiter: Limiter, key: str) -> bool:
    """预支的份额还有就记上，一步也不等；没有了为假，再来 :func:`limit`。"""
    allowance = limiter.take(key)
    if allowance is not None:
        context.rate = allowance
    return allowance is not None


async def limit(context: Context, limiter: Limiter, key: str, metrics: HttpMetrics) -> None:
    """记一个请求；余额写进响应头，拒绝的也写。

    Raises:
        DomainError: 1006。
    """
    try:
        context.rate = await limiter.admit(key)
    except DomainError:
        context.rate = limiter.spent()
        metrics.rate_limited.labels(limiter.scope).inc()
        raise


ADDRESSES = web.AppKey("ADDRESSES", Addresses)
