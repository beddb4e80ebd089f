"""运行中另定的限额：少了的回去等，到时与照旧的接着做；Redis 丢了也还在；一家外面的，全部进程合计。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from kaguan.carriers.gateway import Capabilities, QueuedError
from kaguan.carriers.limiter import SharedLimits
from kaguan.config import Settings
from kaguan.database.pool import Pool
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.errors import LimitNotFoundError
from kaguan.outbox.operate.limits import MOST, Limit, Limiting, lift, limit, limits
from kaguan.outbox.vocabulary import LimitScope
from kaguan.outbox.work.overrides import Overrides
from kaguan.sims.vocabulary import Carrier
from tests.support.apart import done, running, waits
from tests.support.eventually import PATIENCE, eventually
from tests.support.pipeline import Held, Pipeline, open_pipeline

HOUR = timedelta(hours=1)
TYPE, CARRIER = LimitScope


@pytest.fixture
async def pipeline(settings: Settings, pool: Pool) -> AsyncIterator[Pipeline]:
    async with open_pipeline(settings, pool) as opened:
        yield opened


async def bound(pool: Pool, wanted: Limiting) -> Limit:
    async with pool.connection() as connection:
        made = await limit(connection, wanted, "ann")
    assert made is not None
    return made


async def as_configured(pool: Pool, scope: LimitScope, name: str) -> None:
    async with pool.connection() as connection:
        await lift(connection, scope, name, "ann")


@pytest.mark.parametrize("ends", ["by itself", "before its time"])
async def test_a_type_runs_as_many_as_set_and_goes_on_as_configured_after(pipeline: Pipeline, ends: str) -> None:
    """急的队列各多一个：``default`` 里是两个；其余的在 PostgreSQL 里等，不耗尝试。Redis 丢了，照样管着。"""
    held = Held()
    await bound(pipeline.pool, Limiting(TYPE, EMAIL_SEND.name, "r", HOUR, at_once=1))
    await pipeline.redis.flushdb()
    worker = pipeline.worker(held)
    await worker.calling_in.run_once()
    async with running(pipeline, worker):
        ids = await pipeline.submit(6)
        await eventually(lambda: waits(pipeline, EMAIL_SEND.name, 4))
        assert worker.facts()["held"] == {EMAIL_SEND.name: 2}
        if ends == "before its time":
            await as_configured(pipeline.pool, TYPE, EMAIL_SEND.name)
        else:
            await pipeline.sql("update tb_limit set until = clock_timestamp()")
        await eventually(lambda: len(held.attempts) == 6)
        held.released.set()
        await eventually(lambda: done(pipeline, ids))
    assert await pipeline.sql("select sum(attempt)::int from vw_task") == [(6,)]


async def test_who_starts_after_the_end_calls_back_what_waited_for_it(pipeline: Pipeline) -> None:
    """推走它们的 worker 死了：新来的不知道有谁在等，看一眼就叫回来。"""
    await bound(pipeline.pool, Limiting(TYPE, EMAIL_SEND.name, "r", HOUR, at_once=1))
    held = Held()
    before = pipeline.worker(held, "before")
    await before.calling_in.run_once()
    async with running(pipeline, before):
        ids = await pipeline.submit(4)
        await eventually(lambda: waits(pipeline, EMAIL_SEND.name, 2))
        held.released.set()
        await as_configured(pipeline.pool, TYPE, EMAIL_SEND.name)
    async with running(pipeline, pipeline.worker(held, "after")):
        await eventually(lambda: done(pipeline, ids))


async def test_calls_to_a_carrier_are_bounded_for_all_processes_and_then_as_configured(
    pool: Pool, pipeline: Pipeline
) -> None:
    def process() -> SharedLimits:
        return SharedLimits(Carrier.ONELINK, Capabilities(1, 1, 100, 2), PATIENCE, pipeline.redis, Overrides(pool))

    def soon() -> float:
        return asyncio.get_running_loop().time() + 0.2

    def late() -> float:
        return asyncio.get_running_loop().time() + PATIENCE

    one, other = process(), process()
    await bound(pool, Limiting(CARRIER, Carrier.ONELINK, "r", HOUR, at_once=1))
    async with one.slot(late()):
        for refused in (one, other):
            with pytest.raises(QueuedError):
                await refused.slot(soon()).__aenter__()
        await as_configured(pool, CARRIER, Carrier.ONELINK)
        await eventually(lambda: let_in(other))
    await bound(pool, Limiting(CARRIER, Carrier.ONELINK, "r", HOUR, per_second=1))

    async def counted() -> list[bytes]:
        async with process().slot(late()):  # 数着的键只活一秒
            return [key async for key in pipeline.redis.scan_iter("kaguan:limits*onelink/1/1/second")]

    assert len(await eventually(counted)) == 1


async def let_in(limits_of_one: SharedLimits) -> bool:
    try:
        async with limits_of_one.slot(asyncio.get_running_loop().time() + 0.1):
            return True
    except QueuedError:
        return False


async def test_a_waiter_comes_in_when_the_limit_is_raised(pool: Pool) -> None:
    """一直等着的那个，不必等手里的做完。"""
    shared = SharedLimits(Carrier.ONELINK, Capabilities(1, 1, 100, 1), 5.0, None, Overrides(pool))
    late = asyncio.get_running_loop().time() + PATIENCE
    async with shared.slot(late):
        waiting = asyncio.create_task(shared.slot(late).__aenter__())
        await bound(pool, Limiting(CARRIER, Carrier.ONELINK, "r", HOUR, at_once=3))
        await eventually(lambda: let_in(shared))
        await asyncio.wait_for(waiting, PATIENCE)


async def test_what_was_seen_ends_at_its_time_though_nobody_can_look(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """看了一眼，库就不在了：照上一眼，到时的照样不作数。"""
    await bound(pool, Limiting(TYPE, EMAIL_SEND.name, "r", HOUR, at_once=1))
    bounds = Overrides(pool)
    assert (await bounds.of(TYPE))[EMAIL_SEND.name].at_once == 1
    await pool.close()
    assert EMAIL_SEND.name in await bounds.of(TYPE)
    loop = asyncio.get_running_loop()
    with monkeypatch.context() as later:
        later.setattr(loop, "time", partial(float, loop.time() + HOUR.total_seconds()))
        assert await bounds.of(TYPE) == {}


@pytest.mark.parametrize(
    ("scope", "name", "reason", "until", "values"),
    [
        (TYPE, "no type", "r", HOUR, {"at_once": 1}),
        (TYPE, "a:b", " ", HOUR, {"at_once": 1}),
        (TYPE, "a:b", "r", timedelta(0), {"at_once": 1}),
        (TYPE, "a:b", "r", timedelta(days=31), {"at_once": 1}),
        (TYPE, "a:b", "r", HOUR, {}),
        (TYPE, "a:b", "r", HOUR, {"at_once": 0}),
        (TYPE, "a:b", "r", HOUR, {"at_once": 101}),
        (TYPE, "a:b", "r", HOUR, {"at_once": 1, "per_second": 1}),
        (CARRIER, "", "r", HOUR, {"at_once": 1}),
        (CARRIER, "onelink", "r", HOUR, {"per_second": 10_001}),
    ],
)
def test_a_limit_that_says_too_little_is_refused_at_once(
    scope: LimitScope, name: str, reason: str, until: timedelta, values: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match=" / "):
        Limiting(scope, name, reason, until, **values)


async def test_one_gives_way_to_the_next_and_there_are_only_so_many(pool: Pool) -> None:
    for number in range(MOST):
        await bound(pool, Limiting(TYPE, f"a:b{number}", "r", HOUR, at_once=1))
    again = await bound(pool, Limiting(TYPE, "a:b0", "again", datetime.now(UTC) + HOUR, at_once=2))
    async with pool.connection() as connection:
        assert await limit(connection, Limiting(TYPE, "a:c", "r", HOUR, at_once=1), "ann") is None
        listed = await limits(connection)
        assert (len(listed), listed[-1]) == (MOST, again)
        await lift(connection, TYPE, "a:b0", "ann")
        for gone in ("a:b0", "never:set"):
            with pytest.raises(LimitNotFoundError, match="no such limit"):
                await lift(connection, TYPE, gone, "ann")
        await connection.execute("update tb_limit set until = clock_timestamp()")
        assert await limits(connection) == []
        with pytest.raises(LimitNotFoundError):
            await lift(connection, TYPE, "a:b1", "ann")
