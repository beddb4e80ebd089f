"""Redis 被杀又回来，一整队进程都连回来：错开，不一拥而上，也没有一个落下。

PostgreSQL 的那一半在 tests/integration/database/test_reconnecting.py，对照在 tests/failover/fixed_reconnect.py。
"""

from __future__ import annotations

from contextlib import AsyncExitStack

from redis.asyncio import Redis

from kaguan.config import load_settings
from kaguan.database.pool import Pool
from tests.support.eventually import eventually
from tests.support.fault_plant import EFFECT_TABLE, all_closed, effects
from tests.support.pipeline import open_pipeline
from tests.support.redis_fleet import FLEET, is_whole, open_fleet, open_stage

TASKS = 20


async def test_a_fleet_that_meets_a_restarted_redis_does_not_come_back_in_step(
    environ: dict[str, str], pool: Pool
) -> None:
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(open_stage())
        settings = load_settings({**environ, "KAGUAN_REDIS__URL": stage.url, "KAGUAN_SCHEDULES": "[]"})
        watch = await stack.enter_async_context(Redis.from_url(stage.direct))
        pipeline = await stack.enter_async_context(open_pipeline(settings, pool))
        await pipeline.sql(EFFECT_TABLE)

        async def whole() -> bool:
            return await is_whole(watch) and await all_closed(pipeline)

        await open_fleet(stack, settings, pool)
        await pipeline.submit(TASKS)
        await eventually(whole)
        await pipeline.submit(TASKS)
        seen = await stage.restarted(whole)
        assert seen.back >= FLEET
        assert not seen.stormed
        assert await effects(pipeline) == (2 * TASKS, 2 * TASKS)
