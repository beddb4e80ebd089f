"""变异测试里活下来过的：每一个补上一个用例。"""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from redis.asyncio.client import PubSub

from kaguan.config import Settings
from kaguan.database.pool import Pool
from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox.accept.doorbell import Doorbell, listen
from kaguan.outbox.order.release import OrderingRelease
from kaguan.outbox.recover import store
from kaguan.queues.client import open_redis
from kaguan.queues.keys import DOORBELL
from tests.support.alongside import alongside
from tests.support.eventually import PATIENCE, eventually
from tests.support.pipeline import carried_by, open_pipeline
from tests.support.running_task import running_task


async def rung(ear: PubSub) -> bool:
    return await ear.get_message(timeout=PATIENCE) is not None


async def test_a_ring_goes_out(settings: Settings) -> None:
    async with open_redis(settings.redis) as redis, redis.pubsub(ignore_subscribe_messages=True) as ear:
        await ear.subscribe(DOORBELL)
        await ear.get_message(timeout=PATIENCE)  # 订上了
        async with Doorbell(redis, 0.003).ringing() as bell:
            bell.ring()
            await eventually(partial(rung, ear))


async def test_rings_far_apart_do_not_wait_for_each_other(settings: Settings) -> None:
    async with open_redis(settings.redis) as redis, redis.pubsub(ignore_subscribe_messages=True) as ear:
        await ear.subscribe(DOORBELL)
        await ear.get_message(timeout=PATIENCE)  # 订上了
        async with Doorbell(redis, 10 * PATIENCE).ringing() as bell:
            for _ in range(3):
                bell.ring()
                await eventually(partial(rung, ear))


async def test_a_ring_is_heard(settings: Settings) -> None:
    heard = asyncio.Event()
    async with open_redis(settings.redis) as redis, alongside(listen(redis, heard.set), "listener"):
        await eventually(heard.is_set)  # 刚连上时先当作有铃
        heard.clear()
        async with Doorbell(redis, 0.003).ringing() as bell:
            bell.ring()
            await eventually(heard.is_set)


@pytest.mark.unjudged("搁置是改出来的")
async def test_a_row_set_aside_is_not_handed_over_until_it_is_taken_up_again(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        aside, other = await pipeline.submit(2)  # 没有别的要交，取都不会去取
        await pipeline.sql("update tb_outbox set parked_at = now(), parked_reason = '毒丸' where task_id = %s", aside)
        assert await pipeline.forwarder.run_once() == 1
        assert [carried_by(job) for job in await pipeline.jobs()] == [[(other, 1)]]
        await pipeline.sql("update tb_outbox set parked_at = null, parked_reason = null")
        assert await pipeline.forwarder.run_once() == 1


async def test_redrive_leaves_alone_what_is_not_queued(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        (task_id,) = await pipeline.submit()
        async with pool.connection() as connection:
            assert await store.redrive(connection, [(task_id, 1)], "queue_forgot") == 0
        assert (await pipeline.task(task_id)).delivery == 1


@pytest.mark.unjudged("行是用例写成的")
async def test_redrive_leaves_alone_what_was_claimed_meanwhile(settings: Settings, pool: Pool) -> None:
    attempt = await running_task(pool, EMAIL_SEND.name, EmailPayload(to=("a@example.com",), subject="s", body="b"))
    async with open_pipeline(settings, pool) as pipeline:
        async with pool.connection() as connection:
            assert await store.redrive(connection, [(attempt.task_id, 1)], "queue_forgot") == 0
        task = await pipeline.task(attempt.task_id)
        assert (task.status, task.delivery) == ("running", 1)


async def test_the_relay_does_not_release_the_next_while_the_head_is_not_done(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        await pipeline.submit(2, ordering_key="k")
        assert await OrderingRelease(pool).run_once() == 0
        assert await pipeline.sql("select count(*) from tb_outbox") == [(1,)]
