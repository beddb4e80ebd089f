"""量的是真的进程；水位随配置；头尾各取中位。"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.chaos.fleet import Fleet
from tests.chaos.meter import Meter, Reading, depth_bounds, growth, metered, resident
from tests.chaos.stage import Cast, Stage
from tests.support.eventually import PATIENCE


class Deaf:
    """Redis 不在，客户端又把取消吞了。"""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.asked = asyncio.Event()

    @asynccontextmanager
    async def redis(self) -> AsyncIterator[Deaf]:
        yield self

    async def llen(self, _key: str) -> int:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RedisConnectionError from None
        raise RedisConnectionError


async def test_the_meter_stops_though_the_client_swallows_a_cancellation() -> None:
    stage = Deaf()
    async with asyncio.timeout(PATIENCE) as limit, metered(Meter(cast("Stage", stage), lambda: 0.5)) as meter:
        await stage.asked.wait()
        limit.reschedule(asyncio.get_running_loop().time())  # 取消落在停下的途中
    assert [reading.depth for reading in meter.readings] == [0]


@pytest.mark.skipif(sys.platform != "linux", reason="只有 Linux 有 /proc")
def test_this_process_occupies_memory_and_a_missing_one_none() -> None:
    assert resident(os.getpid()) > 10
    assert resident(2**22 + 1) == 0.0


def test_growth_compares_the_start_with_the_end() -> None:
    readings = [Reading(share, 0, {"api-0": 50 + 100 * share}) for share in (0.01, 0.1, 0.5, 0.99, 1.0)]
    readings.append(Reading(1.0, 0, {"relay-0": 60.0}))
    found = growth(readings)
    assert list(found) == ["api-0"]
    assert found["api-0"] == pytest.approx((60.0, 149.5))


def test_the_bound_follows_the_configuration() -> None:
    assert depth_bounds(Cast(relays=2, pace={"KAGUAN_RELAY__HIGH_WATER": "50"})) == (50, 600)
