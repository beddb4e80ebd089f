"""每秒至多几次，由全部进程经 Redis 共享；Redis 不在时退到本进程的上限，而不是放开。"""

from __future__ import annotations

import asyncio
import math
from typing import Any

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from kaguan.flow.backoff import about, jitter
from kaguan.queues.keys import LIMITS
from kaguan.words.log import get_logger

log = get_logger(__name__)

REDIS_AWAY = 5.0  # 秒；Redis 出错之后这么久不再碰它
DOUBTED = 15.0  # 秒；这么久一直要不到，就当里面记的是假的（钟快一小时的也算），清掉重来
POLL = (0.01, 0.05)  # 秒；等名额时的随机间隔


class SharedRate:
    """``kind`` 与 ``name`` 说限的是谁；``redis`` 为 None 即只在本进程内限。

    秒：``window`` 是一次限额管多久；``doubted``，这么久一直要不到就不信 Redis 里记的。
    """

    def __init__(
        self, kind: str, name: str, per_second: int, redis: Redis | None, window: int = 1, doubted: float = DOUBTED
    ) -> None:
        self._doubted = doubted
        self._who = (kind, name)
        self._window = window
        self._item = RateLimitItemPerSecond(per_second, window)
        self._local = MovingWindowRateLimiter(MemoryStorage())
        self._redis = redis
        self._shared = None if redis is None else MovingWindowRateLimiter(shared_storage(redis, LIMITS))
        self._away_until = -math.inf
        self.full_at = -math.inf  # 最近一次没有名额的时刻，事件循环的钟
        self._refused_since = math.inf  # 从何时起一直要不到

    def resize(self, per_second: int) -> None:
        """从此每秒（每 ``window`` 秒）至多这么多次；计数另起，别的进程改了也是另起的那一份。"""
        if per_second != self._item.amount:
            self._item = RateLimitItemPerSecond(per_second, self._window)
            self._refused_since = math.inf

    async def wait(self, deadline: float) -> bool:
        """等一个名额，等到为止；``deadline``（事件循环的钟）之前等不到就是 False。"""
        while not await self._hit():
            self.full_at = asyncio.get_running_loop().time()
            if not await pause(deadline):
                return False
        return True

    async def _hit(self) -> bool:
        if self._shared is not None and self.reachable_redis() is not None:
            try:
                if not await self._shared_hit(self._shared):
                    return False
            except RedisError as error:
                self.note_away(error)
        # 本进程的上限总是生效：Redis 里写着什么都放不开它
        return await self._local.hit(self._item, *self._who)

    async def _shared_hit(self, shared: MovingWindowRateLimiter) -> bool:
        if await shared.hit(self._item, *self._who):
            self._refused_since = math.inf
            return True
        now = asyncio.get_running_loop().time()
        if now - self.full_at > self._item.get_expiry():  # 上一次要不到是很久以前：从此刻重新数
            self._refused_since = math.inf
        self._refused_since = min(self._refused_since, now)
        if now - self._refused_since >= max(self._doubted, 3 * self._item.get_expiry()):
            log.warning("限额一直要不到，清掉重来", limit=":".join(self._who))
            self._refused_since = math.inf
            await shared.clear(self._item, *self._who)
        return False

    def reachable_redis(self) -> Redis | None:
        """没有 Redis，或刚出过错，就是 None。"""
        return self._redis if asyncio.get_running_loop().time() >= self._away_until else None

    def note_away(self, error: RedisError) -> None:
        self._away_until = asyncio.get_running_loop().time() + about(REDIS_AWAY)
        log.warning("Redis 不可用，限额退到本进程", limit=":".join(self._who), error=type(error).__name__)


async def pause(deadline: float) -> bool:
    """歇一下再看还有没有名额；会歇过 ``deadline`` 的就不歇，返回 False。"""
    seconds = jitter(*POLL)
    if asyncio.get_running_loop().time() + seconds >= deadline:
        return False
    await asyncio.sleep(seconds)  # 名额在 Redis 里，各进程共用：没有事件可等，错开着再看
    return True


def shared_storage(redis: Redis, prefix: str) -> RedisStorage:
    """各进程共用的计数，键以 ``prefix`` 起头；与其余部分共用连接池，uri 只用来选实现。"""
    options: dict[str, Any] = {"connection_pool": redis.connection_pool}
    return RedisStorage("async+redis://", implementation="redispy", key_prefix=prefix, **options)
