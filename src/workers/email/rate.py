"""一台中继每秒至多多少封，由全部工作进程经 Redis 共享；Redis 不在时退到本进程的上限，而不是放开。"""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING, Any

import structlog
from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger(__name__)

REDIS_AWAY = 5.0  # 秒；Redis 出错之后这么久不再碰它
POLL = (0.01, 0.05)  # 秒；等名额时的随机间隔


class RelayRate:
    """``relay`` 是中继的 ``主机:端口``；``redis`` 为 None 即只在本进程内限。"""

    def __init__(self, relay: str, per_second: int, redis: Redis | None) -> None:
        self._relay = relay
        self._item = RateLimitItemPerSecond(per_second)
        self._local = MovingWindowRateLimiter(MemoryStorage())
        self._shared = None if redis is None else _shared(redis)
        self._away_until = 0.0
        self.full_at = -math.inf  # 最近一次没有名额的时刻，事件循环的钟

    async def wait(self) -> None:
        """等到一个名额；时限由调用方给。"""
        while not await self._hit():
            self.full_at = asyncio.get_running_loop().time()
            pause = random.uniform(*POLL)  # noqa: S311 只为错开，不涉安全
            await asyncio.sleep(pause)

    async def _hit(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._shared is not None and now >= self._away_until:
            try:
                return await self._shared.hit(self._item, "smtp", self._relay)
            except RedisError as error:
                self._away_until = now + REDIS_AWAY
                log.warning("Redis 不可用，发信限速退到本进程", error=type(error).__name__)
        return await self._local.hit(self._item, "smtp", self._relay)


def _shared(redis: Redis) -> MovingWindowRateLimiter:
    # 与其余部分共用连接池；uri 只用来选实现
    options: dict[str, Any] = {"connection_pool": redis.connection_pool}
    return MovingWindowRateLimiter(
        RedisStorage("async+redis://", implementation="redispy", key_prefix="kaguan:limits", **options)
    )
