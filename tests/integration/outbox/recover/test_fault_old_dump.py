"""Redis 被换成从前的一份：旧的投递又排着队，后来交出的没有了，纪元、水位也是旧的；负载之下不丢、不重，说一声。"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

import pytest
from redis.asyncio import Redis

from kaguan.config import load_settings
from kaguan.database.pool import Pool
from kaguan.outbox.vocabulary import Priority
from tests.chaos.servers import Server
from tests.support.eventually import eventually
from tests.support.fault_plant import (
    EFFECT_TABLE,
    QUICK,
    Effects,
    all_closed,
    effects,
    own_directory,
    own_valkey,
    relaying,
)
from tests.support.pipeline import Pipeline, open_pipeline
from tests.support.said import capture_logs

BATCH = 40
FORGOT = "队列忘了任务，重投"
REDRIVEN = "纪元重投完成"


class OldCopy:
    """停下来装回去（RDB 文件），或原地装回去（逐键）；后一种里复制历史没有换，纪元也还是那一个。"""

    def __init__(self, client: Redis, process: Server) -> None:
        self.client = client
        self.process = process
        self.kept: dict[bytes, bytes] = {}

    async def take(self) -> None:
        await self.client.save()
        keys = [key async for key in self.client.scan_iter()]
        self.kept = {key: await self.client.dump(key) for key in keys}

    async def put_back(self, *, in_place: bool) -> None:
        if not in_place:
            await self.process.restart(signal.SIGKILL, away=0.0)
            return
        async with self.client.pipeline(transaction=True) as pipe:
            pipe.flushall()
            for key, value in self.kept.items():
                pipe.restore(key, 0, value)
            await pipe.execute()


@pytest.fixture
async def setting(environ: dict[str, str], pool: Pool) -> AsyncIterator[tuple[Pipeline, OldCopy]]:
    async with AsyncExitStack() as stack:
        server, process = await stack.enter_async_context(own_valkey(stack.enter_context(own_directory())))
        settings = load_settings({**environ, **QUICK, "KAGUAN_REDIS__URL": server.url})
        pipeline = await stack.enter_async_context(open_pipeline(settings, pool))
        await pipeline.sql(EFFECT_TABLE)
        yield pipeline, OldCopy(await stack.enter_async_context(Redis.from_url(server.url)), process)


async def queued(pipeline: Pipeline) -> int:
    return await pipeline.queues[Priority.DEFAULT].count("queued")


@pytest.mark.parametrize("in_place", [False, True], ids=["restarted", "in-place"])
async def test_a_redis_put_back_to_an_old_copy_loses_nothing_repeats_nothing_and_is_told(
    setting: tuple[Pipeline, OldCopy], *, in_place: bool
) -> None:
    pipeline, copy = setting
    assert await pipeline.epoch.run_once() == 0
    await pipeline.submit(BATCH)
    while await pipeline.forwarder.run_once():
        pass
    await copy.take()
    async with pipeline.working(Effects()), relaying(pipeline):
        await eventually(partial(all_closed, pipeline))

    async def busy() -> bool:
        """有人在做，也有交出了还没有人取的：旧的一份里没有。"""
        return await queued(pipeline) > 0 and len(handler.started) > 0

    async def drained() -> bool:
        return await queued(pipeline) == 0 and await all_closed(pipeline)

    handler = Effects(0.5)
    with capture_logs() as logs:
        async with pipeline.working(handler), relaying(pipeline) as heard:
            await pipeline.submit(BATCH)
            heard.set()
            await eventually(busy)
            await copy.put_back(in_place=in_place)
            await pipeline.submit(BATCH)
            await eventually(drained)  # 旧的也都取走了，一个也没有再做
    assert await effects(pipeline) == (3 * BATCH, 3 * BATCH)
    said = {one["event"] for one in logs if one["log_level"] == "warning"}
    assert REDRIVEN not in said or not in_place
    assert said & ({FORGOT} if in_place else {FORGOT, REDRIVEN})  # 重启的，纪元与核对谁先看见都行
    causes = [("kaguan_tasks_redriven_total", {"cause": cause}) for cause in ("redis_lost_data", "queue_forgot")]
    suppressed = ("kaguan_duplicates_suppressed_total", {"type": "email:send"})
    value = pipeline.metrics.registry.get_sample_value
    assert any(value(*counter) for counter in causes)
    assert value(*suppressed)  # 旧的一份里有做完了的
