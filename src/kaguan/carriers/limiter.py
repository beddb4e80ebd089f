"""一家运营商的速率与并发上限，由全部工作进程经 Redis 共享；Redis 不在时退到本进程的上限，而不是放开。"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from kaguan.carriers.gateway import Capabilities, QueuedError
from kaguan.outbox.vocabulary import LimitScope
from kaguan.outbox.work.overrides import Overrides
from kaguan.queues.keys import lease_key
from kaguan.queues.shared_rate import SharedRate, pause
from kaguan.sims.vocabulary import Carrier
from kaguan.words.reasons import Reason

# 有序集合：成员是租约号，分数是到期毫秒（Redis 的钟）。持有者死了，租约到期自动腾出；比一份租约还晚的不是我们占的
ACQUIRE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. now + tonumber(ARGV[3]), '+inf')
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""


class SharedLimits:
    """一家运营商的名额。

    Args:
        lease: 一个并发名额至多被占多久（秒），须大于单次请求的时限。
        redis: 共享用；``None`` 即只有本进程的上限。
        overrides: 运行中另定的，代替 ``capabilities`` 里的；``None`` 即没有人另定。
    """

    def __init__(
        self,
        carrier: Carrier,
        capabilities: Capabilities,
        lease: float,
        redis: Redis | None,
        overrides: Overrides | None = None,
    ) -> None:
        self._carrier = carrier
        self._key = lease_key(carrier)
        self._configured = capabilities
        self._overrides = overrides
        self._at_once = capabilities.max_concurrency
        self._lease = lease
        self._rate = SharedRate("carrier", carrier, capabilities.per_second, redis)
        # 本进程的并发上限总是生效：既是 Redis 不在时的后备，也免得同进程的协程去 Redis 互相争
        self._in_hand, self._left = 0, asyncio.Condition()

    @asynccontextmanager
    async def slot(self, deadline: float) -> AsyncIterator[None]:
        """占一个并发名额和一次速率名额，离开时还回并发名额。

        Args:
            deadline: 事件循环的时刻；等到这时还没有就放弃。

        Raises:
            QueuedError: 到时限仍排不上。
        """
        await self._look()
        try:
            async with asyncio.timeout_at(deadline), self._left:
                await self._left.wait_for(lambda: self._in_hand < self._at_once)
                self._in_hand += 1
        except TimeoutError:
            raise QueuedError(Reason("carriers.slots_full")) from None
        try:
            token = await self._acquire_lease(deadline)
            try:
                if not await self._rate.wait(deadline):
                    raise QueuedError(Reason("carriers.rate_full"))
                yield
            finally:
                await self._release_lease(token)
        finally:
            self._in_hand -= 1
            await self._tell()

    async def _look(self) -> None:
        """另定了就照另定的，不再另定就照配置。"""
        if self._overrides is None:
            return
        bound = (await self._overrides.of(LimitScope.CARRIER)).get(self._carrier)
        before = self._at_once
        self._at_once = (bound and bound.at_once) or self._configured.max_concurrency
        self._rate.resize((bound and bound.per_second) or self._configured.per_second)
        if before < self._at_once:
            await self._tell()

    async def _tell(self) -> None:
        async with self._left:
            self._left.notify_all()

    async def _acquire_lease(self, deadline: float) -> str | None:
        token = secrets.token_hex(8)
        while (redis := self._rate.reachable_redis()) is not None:
            arguments = (self._at_once, token, int(self._lease * 1000))
            try:
                # 类型桩把同步与异步两种返回混在一起
                reply: Any = redis.eval(ACQUIRE, 1, self._key, *arguments)
                if await reply:
                    return token
            except RedisError as error:
                self._rate.note_away(error)
                break
            if not await pause(deadline):
                raise QueuedError(Reason("carriers.slots_full"))
        return None

    async def _release_lease(self, token: str | None) -> None:
        if token is None or (redis := self._rate.reachable_redis()) is None:
            return
        try:
            await redis.zrem(self._key, token)
        except RedisError as error:
            self._rate.note_away(error)
