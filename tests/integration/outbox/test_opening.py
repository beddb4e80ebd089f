"""一个进程为发件箱打开的：看得见、数得出、等该等的；产品的三种进程也由这里打开。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from redis.asyncio import Redis

from kaguan.config import Settings
from kaguan.outbox import (
    Attempt,
    DatabaseSettings,
    Done,
    Outbox,
    Payload,
    QueueUnavailableError,
    RedisSettings,
    Task,
    WorkerSettings,
    watch,
)
from kaguan.presence.census import take_census
from kaguan.queues.client import open_redis
from tests.support.eventually import PATIENCE, eventually

MOST = 4
SLOTS = 6


class Parcel(Payload):
    number: int


def outbox(settings: Settings, redis: str | None = None) -> Outbox:
    return Outbox(
        "shop",
        database=DatabaseSettings(url=settings.database.url, pool_min=1, pool_max=MOST),
        redis=RedisSettings.model_validate({"url": redis or settings.redis.url, "connect_attempts": 1}),
        worker=WorkerSettings(concurrency=SLOTS),
    )


def sending(shop: Outbox) -> Task[Parcel]:
    @shop.task("parcel:send", Parcel)
    async def send(_attempt: Attempt[Parcel]) -> Done:
        return Done()

    return send


@pytest.fixture
async def shop(settings: Settings) -> Outbox:
    closed = outbox(settings)
    await closed.install()
    return closed


@pytest.fixture
async def census(settings: Settings) -> AsyncIterator[Redis]:
    async with open_redis(settings.redis, namespace="kaguan.shop") as redis:
        yield redis


async def roles(census: Redis) -> list[str]:
    return sorted(one.role for one in (await take_census(census)).processes)


async def seen(census: Redis, *expected: str) -> None:
    """名片递上了：头一拍没赶上的，下一拍。"""

    async def there() -> bool:
        return await roles(census) == list(expected)

    await eventually(there)


async def planning(shop: Outbox) -> tuple[Any, ...] | None:
    async with shop.pool.connection() as connection:
        return await (await connection.execute("show plan_cache_mode")).fetchone()


async def test_what_a_process_is_there_for_is_seen_at_once_with_its_slots_and_gone_when_it_leaves(
    shop: Outbox, census: Redis
) -> None:
    sending(shop)
    async with shop.opened():
        await seen(census, "api")
    async with shop.running():
        await seen(census, "relay", "worker")
        [worker] = (await take_census(census)).of("worker")
        assert sum(worker.slots.values()) == SLOTS
    assert await roles(census) == []


async def test_a_program_that_ends_with_an_error_of_its_own_has_left_and_not_crashed(
    shop: Outbox, census: Redis
) -> None:
    sending(shop)

    async def program(inside: AbstractAsyncContextManager[Outbox]) -> None:
        async with inside:
            await eventually(lambda: roles(census))
            raise ZeroDivisionError

    for inside in (shop.opened(), shop.running()):
        with pytest.raises(ZeroDivisionError):
            await program(inside)
        assert await roles(census) == []


async def test_the_statements_of_relay_and_worker_are_planned_once_and_the_pool_is_as_large_as_said(
    shop: Outbox,
) -> None:
    async with shop.opened():
        assert await planning(shop) == ("auto",)
        assert shop.pool.max_size == MOST
    async with shop.running(worker=False):
        assert await planning(shop) == ("force_generic_plan",)


async def test_what_is_done_is_counted_in_the_one_registry(shop: Outbox) -> None:
    send = sending(shop)
    labels = {"type": "parcel:send", "queue": "default"}
    async with shop.running():
        async with shop.transaction() as tx:
            accepted = await send.accept(tx, Parcel(number=1))
        async with shop.pool.connection() as connection:
            await watch(connection, [accepted.task_id], PATIENCE, lambda _: None)
        counted = shop.metrics.registry.get_sample_value  # relay 提交了才数，worker 也许先做完
        await eventually(lambda: counted("kaguan_tasks_settled_total", {**labels, "outcome": "succeeded"}) == 1)
        await eventually(lambda: counted("kaguan_tasks_relayed_total", labels) == 1)


@pytest.mark.usefixtures("shop")
async def test_without_redis_accepting_opens_and_working_says_what_is_missing(settings: Settings) -> None:
    alone = outbox(settings, "redis://127.0.0.1:1")
    send = sending(alone)
    async with alone.opened(), alone.transaction() as tx:
        await send.accept(tx, Parcel(number=1))
    with pytest.raises(QueueUnavailableError, match="cannot be reached"):
        async with alone.running():
            pass


async def test_what_it_was_not_opened_for_is_refused_in_words(shop: Outbox) -> None:
    sending(shop)
    async with shop.opened():
        with pytest.raises(RuntimeError, match=r"opened\('worker'\)"):
            shop.worker()
        with pytest.raises(RuntimeError, match=r"opened\('relay'\)"):
            shop.relay()
    async with shop.opened("relay", "worker"):
        shop.relay()
        shop.worker()


@pytest.mark.parametrize(
    ("database", "redis", "told"), [("", "redis://h", "database="), ("postgresql://h/d", "", "redis=")]
)
def test_an_address_that_is_missing_is_refused(database: str, redis: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Outbox("shop", database=database, redis=RedisSettings.model_validate({"url": redis}))
