"""限流：每秒固定窗口，计数在 Redis（``limits`` 库），多个进程共用；Redis 不在就各自为限，从不敞开。

每请求一次往返太贵，所以每个进程成批预支（一次预支限额的五十分之一）；限额小时一次只支一个，因而精确。
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import NamedTuple

from limits.aio.storage import MemoryStorage
from redis.asyncio import Redis
from redis.exceptions import RedisError

from kaguan.flow.backoff import about
from kaguan.queues.keys import RATE
from kaguan.queues.shared_rate import shared_storage
from kaguan.words.errors import Code, DomainError
from kaguan.words.log import get_logger

log = get_logger(__name__)

WINDOW = 1  # 秒
SHARE = 50  # 一次预支限额的几分之一
REDIS_TIMEOUT = 0.25  # 秒；更慢就当它不在
REDIS_PAUSE = 2.0  # 秒；不在的时候隔这么久再试
MAX_KEYS = 20_000  # 记住的调用者上限


@dataclass(slots=True)
class _Lease:
    """某个调用者在当前这一秒里预支的份额。"""

    second: int
    permits: int = 0
    remaining: int = 0
    exhausted: bool = False


class Allowance(NamedTuple):
    """放行（或拒绝）之后的余额。"""

    scope: str
    limit: int
    remaining: int

    def headers(self) -> dict[str, str]:
        """RateLimit 响应头（IETF draft-ietf-httpapi-ratelimit-headers-11）。"""
        return {
            "RateLimit-Policy": f'"{self.scope}";q={self.limit};w={WINDOW}',
            "RateLimit": f'"{self.scope}";r={self.remaining};t={WINDOW}',
        }


class LocalCounter:
    """本进程自己的计数器：不碰任何服务器。"""

    def __init__(self) -> None:
        self._storage = MemoryStorage()

    async def add(self, key: str, amount: int, expiry: int = WINDOW * 2) -> int:
        """加上 ``amount``，返回之后的值；``expiry`` 秒之后从零数起。"""
        return await self._storage.incr(key, expiry, amount)


class Counter:
    """共享的计数器：先 Redis，后本地。"""

    def __init__(self, redis: Redis) -> None:
        self._shared = shared_storage(redis, RATE)
        self._local = LocalCounter()
        self._away_until = 0.0

    async def add(self, key: str, amount: int, expiry: int = WINDOW * 2) -> int:
        """加上 ``amount``，返回之后的值；``expiry`` 秒之后从零数起。"""
        if time.monotonic() >= self._away_until:
            try:
                async with asyncio.timeout(REDIS_TIMEOUT):
                    used = await self._shared.incr(key, expiry, amount)
            except (RedisError, OSError, TimeoutError) as error:
                if self._away_until == 0.0:
                    log.warning("限流改用本地计数：Redis 不可用", error=type(error).__name__)
                self._away_until = time.monotonic() + about(REDIS_PAUSE)
            else:
                self._away_until = 0.0
                return used
        return await self._local.add(key, amount, expiry)


class Limiter:
    """一种限额：每个调用者每秒至多 ``limit`` 个请求。"""

    def __init__(self, scope: str, limit: int, counter: Counter | LocalCounter) -> None:
        self.scope = scope
        self._limit = limit
        self._counter = counter
        self._chunk = max(1, limit // SHARE)
        self._leases: dict[str, _Lease] = {}
        self._renewing: dict[str, asyncio.Lock] = {}

    def take(self, key: str) -> Allowance | None:
        """放行一个请求，用预支的份额；没有了就是 None。"""
        lease = self._leases.get(key)
        if lease is None or not lease.permits or lease.second != int(time.time()):
            return None
        lease.permits -= 1
        return Allowance(self.scope, self._limit, lease.remaining + lease.permits)

    async def admit(self, key: str) -> Allowance:
        """放行一个请求；预支的份额用完了就再支。

        Raises:
            DomainError: 1006，本秒的份额已用完。
        """
        second = int(time.time())
        lease = self._leases.get(key)
        if lease is None or lease.second != second or lease.permits == 0:
            lease = await self._renew(key, second)
        if lease.permits == 0:
            raise DomainError(Code.TOO_MANY_REQUESTS, retry_after=WINDOW)
        lease.permits -= 1
        return Allowance(self.scope, self._limit, lease.remaining + lease.permits)

    def spent(self) -> Allowance:
        """被拒绝的那一个看到的余额。"""
        return Allowance(self.scope, self._limit, 0)

    async def _renew(self, key: str, second: int) -> _Lease:
        async with self._renewing.setdefault(key, asyncio.Lock()):
            lease = self._leases.get(key)
            if lease is not None and lease.second == second and (lease.permits or lease.exhausted):
                return lease
            used = await self._counter.add(f"{self.scope}/{key}/{second}", self._chunk)
            granted = max(0, min(self._chunk, self._limit - (used - self._chunk)))
            lease = _Lease(second, granted, max(0, self._limit - used), exhausted=granted == 0)
            self._prune(second)
            self._leases[key] = lease
            return lease

    def _prune(self, second: int) -> None:
        if len(self._leases) < MAX_KEYS:
            return
        self._leases = {key: lease for key, lease in self._leases.items() if lease.second == second}
        self._renewing = {key: lock for key, lock in self._renewing.items() if lock.locked()}
