"""纪元：Redis 里放一个随机值，库里也记一份。不符即 Redis 丢过数据：已交出的全部重投，几秒内，不等时限。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import structlog

from kaguan.outbox import store
from kaguan.queues import keys

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from redis.asyncio import Redis

    from kaguan.database.pool import Pool
    from kaguan.queues.saq import KaguanQueue
    from kaguan.tasks.model import Priority
    from kaguan.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

PAGE = 2_000


@dataclass(frozen=True, slots=True)
class EpochRedrive:
    """一次 ``run_once`` 比对一次纪元，不符就一批批重投到完。"""

    pool: Pool
    redis: Redis
    queues: Mapping[Priority, KaguanQueue]
    metrics: Metrics

    async def run_once(self) -> int:
        """返回重投的个数。

        Raises:
            RedisError: Redis 不在；等它回来再比。
        """
        here = await self._redis_epoch()
        async with self.pool.connection() as connection:
            recorded = await store.epoch(connection)
            if recorded == here:
                return 0
            if recorded is None:
                await store.set_epoch(connection, here)
                return 0
            cursor = await connection.execute("select clock_timestamp()")
            row = await cursor.fetchone()
        assert row is not None  # noqa: S101 select 一个标量必有一行
        log.warning("Redis 丢过数据（纪元已变），重投全部已交出的任务")
        count = await self._redrive_before(row[0])
        # 全部重投之后才记下新纪元：中途死了，下一个 relay 接着做
        async with self.pool.connection() as connection:
            await store.set_epoch(connection, here)
        log.warning("纪元重投完成", count=count)
        self.metrics.redriven.labels(cause="redis_lost_data").inc(count)
        return count

    async def _redis_epoch(self) -> UUID:
        """Redis 里的纪元；没有就放一个新的，看不懂的也换成新的。"""
        value = await self.redis.get(keys.EPOCH)
        if value is None:
            await self.redis.set(keys.EPOCH, str(uuid4()), nx=True)
            value = await self.redis.get(keys.EPOCH)
        try:
            return UUID(value.decode())
        except ValueError:
            fresh = uuid4()
            await self.redis.set(keys.EPOCH, str(fresh))
            return fresh

    async def _redrive_before(self, moment: datetime) -> int:
        total = 0
        while True:
            async with self.pool.connection() as connection:
                lost = await store.lost_epoch(connection, moment, PAGE)
                if not lost:
                    return total
                moved = await store.redrive(connection, lost, "redis_lost_data")
            total += moved
            if moved == 0:
                return total  # 余下的正被别人锁着：他们会处理
