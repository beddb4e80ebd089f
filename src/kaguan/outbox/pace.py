"""每种任务一次尝试的平均秒数，由 worker 写、relay 读。丢了无妨：只影响一次投递装几个。"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from redis.asyncio import Redis

from kaguan.queues.keys import pace_key

TTL = 60  # 秒：没有 worker 更新就不再可信


async def publish(redis: Redis, seconds: Mapping[str, float]) -> None:
    """一条流水线写下各类型的步速（秒）。

    Raises:
        RedisError: 连不上。
    """
    async with redis.pipeline(transaction=False) as pipe:
        for task_type, value in seconds.items():
            pipe.set(pace_key(task_type), f"{value:.6f}", ex=TTL)
        await pipe.execute()


async def read(redis: Redis, task_types: Iterable[str]) -> dict[str, float]:
    """各类型的步速（秒）；没有可信值的类型不在其中。

    Raises:
        RedisError: 连不上。
    """
    types = list(task_types)
    values = await redis.mget([pace_key(task_type) for task_type in types])
    return {task_type: float(value) for task_type, value in zip(types, values, strict=True) if value is not None}
