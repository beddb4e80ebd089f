"""别的程序写了我们在 Redis 里的键：换了值、换了类型、删了；不丢、不重、不原地打转，说一声。

历史核对时碰上的在 test_history_cut.py，`kaguan doctor` 说的在 test_cli.py。
"""

from __future__ import annotations

import asyncio
from uuid import uuid4

from redis.asyncio import Redis

from kaguan.config import load_settings
from kaguan.database.pool import Pool
from kaguan.outbox.recover.calls import Calls
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Outcome
from kaguan.queues import keys
from kaguan.queues.foreign import KINDS, foreign
from tests.support.eventually import eventually
from tests.support.fault_plant import EFFECT_TABLE, LASTING, QUICK, Effects, all_closed, effects, relaying
from tests.support.pipeline import open_pipeline
from tests.support.said import capture_logs

HASH, GARBAGE, ANOTHER = "a hash", "garbage", str(uuid4())
EACH = 2
REPLACED = "别的程序写过我们在 Redis 里的键，换成自己的，当作丢过数据；请各用各的库号，或用 ACL 隔开"
LOST = "Redis 丢过数据，或切换了主（纪元已变），重投它不认得的已交出的任务"
NOT_OURS = "Redis 里有不是我们写的值，当作没有"
# 写的是什么 → 说的是什么；没有说的是看不出来、也不要紧的。删去记号（CALLS_TRIMMED）只写不读，历史核对时才碰上
STROKES: dict[tuple[str, str | None], str | None] = {
    **{(key, HASH): REPLACED for key in KINDS if key != keys.CALLS_TRIMMED},
    **{(keys.CALLS, value): REPLACED for value in (GARBAGE, ANOTHER)},
    (keys.EPOCH, GARBAGE): NOT_OURS,
    (keys.EPOCH, ANOTHER): LOST,
    (keys.EPOCH, None): LOST,
    (keys.REPLICATION, GARBAGE): LOST,
    (keys.WATERMARK, GARBAGE): NOT_OURS,
    (keys.WATERMARK, ANOTHER): NOT_OURS,
    **{(key, None): None for key in (keys.REPLICATION, keys.WATERMARK, keys.CALLS)},
}


class Calling(Effects):
    """先记意向：写进 Redis 的那一笔。"""

    async def __call__(self, attempt: Attempt) -> Outcome:
        async with attempt.transaction() as connection:
            await attempt.declare_intent(connection)
        return await super().__call__(attempt)


async def scribble(redis: Redis, key: str, value: str | None) -> None:
    async with redis.pipeline(transaction=True) as pipe:
        pipe.delete(key)
        if value == HASH:
            pipe.hset(key, "a", "1")
        elif value is not None:
            pipe.set(key, value)
        await pipe.execute()


async def test_whatever_a_stranger_writes_into_our_keys_everything_is_done_once_and_it_is_said(
    environ: dict[str, str], pool: Pool
) -> None:
    async with open_pipeline(load_settings({**environ, **QUICK, **LASTING}), pool) as pipeline:
        await pipeline.sql(EFFECT_TABLE)
        await pipeline.epoch.run_once()

        async def over() -> bool:
            if told is not None and told not in {one["event"] for one in logs}:
                if key == keys.WATERMARK:  # relay 正要抄的水位会盖掉它，谁也没有看见：再写一次
                    await scribble(pipeline.redis, key, value)
                return False
            return await all_closed(pipeline) and not await foreign(pipeline.redis)

        async with pipeline.working(Calling()), relaying(pipeline) as heard:
            for number, ((key, value), told) in enumerate(STROKES.items(), start=1):
                with capture_logs() as logs:
                    await pipeline.submit(EACH)
                    heard.set()
                    await scribble(pipeline.redis, key, value)
                    await pipeline.submit(EACH)
                    heard.set()
                    await eventually(over)
                assert await effects(pipeline) == (2 * EACH * number, 2 * EACH * number)
                assert told == REPLACED or REPLACED not in {one["event"] for one in logs}


async def test_calls_noted_at_once_in_a_foreign_key_are_all_noted(environ: dict[str, str], pool: Pool) -> None:
    """换掉它的只有一个；别的败在它之前，再来一次就成。"""
    async with open_pipeline(load_settings({**environ, **QUICK}), pool) as pipeline:
        await asyncio.gather(*(pipeline.redis.exists(keys.CALLS) for _ in range(20)))  # 连接都已建好：真的同时
        await scribble(pipeline.redis, keys.CALLS, HASH)
        calls, tasks = Calls(pipeline.redis, pipeline.settings.tasks), [uuid4() for _ in range(20)]
        async with pool.connection() as connection:
            seal = await calls.sealing.held(connection)  # 手里有了，往后都不碰库
            await asyncio.gather(*(calls.note(connection, [(task_id, 1)]) for task_id in tasks))
        (noted,) = [page async for page in calls.pages(seal)]
        assert sorted(task_id for task_id, _ in noted) == sorted(tasks)
