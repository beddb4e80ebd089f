"""对照：不掷骰子的一队，间隔是我们的平均或是零；须判为齐步、一拥而上（`make prove P=failover`）。"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from kaguan.database import checked_pool
from tests.support.alongside import alongside
from tests.support.eventually import eventually
from tests.support.postgres_fleet import restarted
from tests.support.redis_fleet import FLEET, open_stage
from tests.support.sentinel import tell

FIXED = 1.0  # 秒
CONNECTIONS = 3  # 一个进程；我们的回来时也是这么多


def always_the_mean(low: float, high: float) -> float:
    return (low + high) / 2


def never_waiting(_low: float, _high: float) -> float:
    return 0.0


async def test_a_fleet_of_pools_that_waits_for_a_fixed_time_is_condemned(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked_pool, "jitter", always_the_mean)
    seen = await restarted(environ)
    assert seen.in_step, seen


async def test_a_fleet_of_pools_that_does_not_wait_is_condemned(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked_pool, "jitter", never_waiting)
    seen = await restarted(environ)
    assert seen.at_once, seen


async def keep_asking(client: Redis) -> None:
    """断了歇一歇再来，歇多久人人一样。"""
    while True:
        try:
            await tell(client, "BLPOP", "nothing", 1)
        except RedisError:
            await asyncio.sleep(FIXED)


async def test_a_fleet_of_clients_of_redis_that_waits_for_a_fixed_time_is_condemned() -> None:
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(open_stage())
        for number in range(CONNECTIONS * FLEET):
            client = Redis.from_url(stage.url, single_connection_client=True, retry=Retry(NoBackoff(), 0))
            await stack.enter_async_context(client)
            await stack.enter_async_context(alongside(keep_asking(client), f"fixed-{number}"))

        async def whole() -> bool:
            return stage.proxy.links == CONNECTIONS * FLEET

        await eventually(whole)
        seen = await stage.restarted(whole)
        assert seen.stormed, seen
