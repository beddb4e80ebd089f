"""类型自己说的：失败之后隔多久再来、一次尝试至多多久；没说的照配置。"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kaguan.config import Settings
from kaguan.outbox import Attempt, Backoff, Done, Effect, Outbox, Outcome, Payload, Retry, TaskType
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.testing import drain


@pytest.fixture
async def shop(settings: Settings) -> Outbox:
    shop = Outbox(
        "shop",
        database=settings.database,
        redis=settings.redis,
        tasks=settings.tasks,
        worker=settings.worker,
    )
    await shop.install()
    return shop


async def stored(shop: Outbox, query: Any) -> list[tuple[Any, ...]]:
    async with shop.pool.connection() as connection:
        return await (await connection.execute(query)).fetchall()


async def test_a_type_waits_after_a_failure_as_it_says_and_others_as_configured(shop: Outbox) -> None:
    async def away(_: Attempt) -> Outcome:
        return Retry("nobody there", outage=True)

    patient = shop.task("call:patient", Payload)(away)
    hasty = shop.task("call:hasty", Payload, backoff=Backoff(base=0.1, cap=0.1))(away)
    async with shop.opened():
        async with shop.transaction() as tx:
            await patient.accept(tx, Payload())
            await hasty.accept(tx, Payload())
        assert await drain(shop.pool, shop.handlers) == {"retrying": 2}
        waits = "select type, available_at - created_at < interval '10 s' from vw_task order by type"
        assert await stored(shop, waits) == [("call:hasty", True), ("call:patient", False)]


async def test_an_attempt_ends_when_the_time_of_its_type_is_up(shop: Outbox) -> None:
    left: list[bool] = []

    @shop.task("call:endless", Payload, time_limit=0.2, max_attempts=1)
    async def endless(attempt: Attempt) -> Done:
        left.append(attempt.time_left() < 0.2)
        await asyncio.Event().wait()
        return Done()

    async with shop.opened():
        async with shop.transaction() as tx:
            await endless.accept(tx, Payload())
        assert await drain(shop.pool, shop.handlers) == {"failed": 1}
        ((seconds,),) = await stored(
            shop, "select last_error->'parameters'->'reason'->'parameters'->'seconds' from tb_task"
        )
    assert (seconds, left) == (0.2, [True])


def test_a_delivery_lives_as_long_as_its_longest_attempt() -> None:
    types = TaskTypes(
        [TaskType("a:long", Payload, Effect.REPEATABLE, time_limit=900), TaskType("a:b", Payload, Effect.REPEATABLE)]
    )
    assert (types.longest(600.0), types.longest(1_000.0), TaskTypes(()).longest(600.0)) == (900, 1_000.0, 600.0)


@pytest.mark.parametrize(
    "options", [{"base": 0.0}, {"base": 3.0, "cap": 2.0}, {"cap": float("inf")}, {"base": float("nan")}]
)
def test_a_backoff_that_cannot_be_one_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="base <= cap"):
        Backoff(**options)


@pytest.mark.parametrize("seconds", [0, -1, 86_401, float("nan")])
def test_a_time_limit_that_cannot_be_one_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="time_limit"):
        TaskType("a:b", Payload, Effect.REPEATABLE, time_limit=seconds)
