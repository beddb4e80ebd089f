"""Redis 任务锁：替 PostgreSQL 挡掉明显的重复投递。它什么也不决定：Redis 不在就当它不存在。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

from kaguan.queues import keys

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from redis.asyncio import Redis

log = structlog.get_logger(__name__)

STATUS_TTL = 120  # 秒：迟到的重复投递在这段时间里看一眼就走


@dataclass(frozen=True, slots=True)
class DuplicateGuard:
    """``lease`` 单位秒：锁最多活这么久。"""

    redis: Redis
    lease: float

    async def admit(self, tokens: Sequence[tuple[UUID, int]]) -> bool:
        """同一次投递正在别处执行，或刚结算过 → False。同乘的又多又快，不值得一个个去问，认领自会挡住。"""
        if len(tokens) != 1:
            return True
        ((task_id, delivery),) = tokens
        try:
            async with self.redis.pipeline(transaction=False) as pipe:
                pipe.set(keys.task_lock(task_id), delivery, nx=True, get=True, px=int(self.lease * 1000))
                pipe.get(keys.task_status(task_id))
                holder, settled = await pipe.execute()
        except RedisError as error:
            log.debug("任务锁不可用，直接认领", error=type(error).__name__)
            return True
        mark = str(delivery).encode()
        repeated: bool = mark in {holder, settled}
        return not repeated

    async def settled(self, tokens: Sequence[tuple[UUID, int]]) -> None:
        """这次投递已有结局：留下记号，放开锁。"""
        if len(tokens) != 1:
            return
        ((task_id, delivery),) = tokens
        try:
            async with self.redis.pipeline(transaction=False) as pipe:
                pipe.set(keys.task_status(task_id), delivery, ex=STATUS_TTL)
                pipe.delete(keys.task_lock(task_id))
                await pipe.execute()
        except RedisError as error:
            log.debug("任务锁记号未写", error=type(error).__name__)
