"""哨兵切换时的一整队进程：新的主数得出谁来连，错开着来，没有一个落下（`make prove P=failover`）。"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from itertools import pairwise

from redis.asyncio import Redis

from kaguan.config import load_settings
from kaguan.database.pool import Pool
from tests.support.alongside import alongside
from tests.support.eventually import eventually
from tests.support.fault_plant import EFFECT_TABLE, all_closed, effects, own_directory
from tests.support.pipeline import open_pipeline
from tests.support.redis_fleet import FLEET, STEP, Return, is_whole, open_fleet
from tests.support.sentinel import watched

TASKS = 20
SAMPLE = 0.02  # 秒


class Arrivals:
    """服务器自己数的，来连过几次；每隔 :data:`SAMPLE` 秒看一眼。"""

    def __init__(self, server: Redis) -> None:
        self.server = server
        self.seen: list[tuple[float, int]] = []

    async def watch(self) -> None:
        while True:
            counted = (await self.server.info("stats"))["total_connections_received"]
            self.seen.append((asyncio.get_running_loop().time(), counted))
            await asyncio.sleep(SAMPLE)

    def busiest(self, seconds: float) -> int:
        ends = [max(count for at, count in self.seen if at <= start + seconds) for start, _ in self.seen]
        return max(end - count for end, (_, count) in zip(ends, self.seen, strict=True))

    @property
    def total(self) -> int:
        return sum(after - before for (_, before), (_, after) in pairwise(self.seen))


async def test_a_fleet_follows_a_sentinel_failover_out_of_step(environ: dict[str, str], pool: Pool) -> None:
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(watched(stack.enter_context(own_directory())))
        settings = load_settings({**environ, "KAGUAN_REDIS__URL": group.url(), "KAGUAN_SCHEDULES": "[]"})
        old, new = group.nodes
        pipeline = await stack.enter_async_context(open_pipeline(settings, pool))
        await pipeline.sql(EFFECT_TABLE)
        await open_fleet(stack, settings, pool)
        before, after = [await stack.enter_async_context(Redis.from_url(node.valkey.url)) for node in (old, new)]
        await pipeline.submit(TASKS)
        await eventually(lambda: is_whole(before))
        await pipeline.submit(TASKS)
        arrivals = Arrivals(after)
        async with alongside(arrivals.watch(), "arrivals"):
            await old.process.stop(signal.SIGKILL)
            assert await group.moved(old) is new
            await eventually(lambda: is_whole(after))
            await eventually(lambda: all_closed(pipeline))
        seen = Return(arrivals.busiest(1.0), arrivals.total, arrivals.busiest(STEP))
        assert seen.back >= FLEET
        assert not seen.stormed
        assert await effects(pipeline) == (2 * TASKS, 2 * TASKS)
