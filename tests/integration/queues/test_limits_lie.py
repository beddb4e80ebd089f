"""Redis 里的限额是假的：停不住谁，也放不开谁。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import cast

import pytest
from redis.asyncio import Redis

from kaguan.carriers.gateway import Capabilities
from kaguan.carriers.limiter import SharedLimits
from kaguan.config import Settings
from kaguan.queues.client import open_redis
from kaguan.queues.keys import lease_key
from kaguan.queues.shared_rate import SharedRate
from kaguan.sims.vocabulary import Carrier
from tests.support.eventually import PATIENCE

FUTURE = 1e11


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    async with open_redis(settings.redis) as client:
        yield client


async def test_leases_from_the_future_are_removed(redis: Redis) -> None:
    """没有主人的并发名额，到期在几千年以后，键也不过期：照样占得到。"""
    await redis.zadd(lease_key(Carrier.ONELINK), {"liar": FUTURE * 1_000, "another": FUTURE * 1_000})
    limits = SharedLimits(Carrier.ONELINK, Capabilities(1, 1, 100, 2), 5.0, redis)
    async with limits.slot(asyncio.get_running_loop().time() + PATIENCE):
        assert await redis.zcard(lease_key(Carrier.ONELINK)) == 1


@pytest.mark.parametrize("lie", [FUTURE, "abc"], ids=["future", "garbage"])
async def test_a_rate_that_lies_is_not_believed_for_long(redis: Redis, lie: float | str) -> None:
    """记着的时刻在将来、键从不过期：一直要不到的清掉重来；看不懂的退到本进程的上限。"""
    rate = SharedRate("smtp", "relay", 3, redis, doubted=0.1)
    assert await rate.wait(asyncio.get_running_loop().time() + PATIENCE)
    (key,) = [key async for key in redis.scan_iter("kaguan:limits*relay*")]
    await redis.persist(key)
    await redis.delete(key)
    await cast("Awaitable[int]", redis.rpush(key, *[lie] * 5))  # 存根不分同步异步
    assert await rate.wait(asyncio.get_running_loop().time() + PATIENCE)


async def test_an_emptied_rate_does_not_unbind_the_process(redis: Redis) -> None:
    """记着的一遍遍被人删掉：本进程的上限仍在。"""
    rate = SharedRate("smtp", "relay", 3, redis, window=60)
    for _ in range(3):
        assert await rate.wait(asyncio.get_running_loop().time() + PATIENCE)
        await redis.flushdb()
    assert not await rate.wait(asyncio.get_running_loop().time() + 0.2)
