"""data:sync 死在随便哪里都接得上：每种方言 × 每种同步，最后的行与结果和一口气做完的一样。"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis

from kaguan.database.pool import Pool
from kaguan.dev.simulator import iccid_at
from kaguan.dev.simulator.population import Override
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Outcome
from kaguan.sims.tasks import DataSyncPayload
from kaguan.sims.vocabulary import Carrier, SyncType
from tests.support.carrier_world import Simulated, gateways_of, register, rows, simulating
from tests.support.running_task import running_task
from tests.support.sync_deaths import (
    EVENTS,
    RECORDER,
    SIMS,
    STAGED,
    DiesBeforeCommit,
    DiesBetweenBatches,
    delivered_again,
    killed_at,
    result_of,
    start,
)
from workers.sync.handler import DataSync

CARDS = 70
STRANGERS = 90  # 运营商有、我们没有的
BATCH = 10
USAGE = "select iccid, day, carrier, data_bytes, sms_count, revision from tb_sim_usage order by iccid, day"
POINTS = "select coalesce(sum(batches), 0)::int from tb_sync_checkpoint where task_id = %s"
EVERY_SYNC = [(carrier, kind) for carrier in Carrier for kind in SyncType]
LONG_SYNC = [  # 逐卡问，调用多；没有变更要入箱的查资料
    (Carrier.CONTROL_CENTER, SyncType.USAGE),
    *((carrier, SyncType.SIM_INFO) for carrier in Carrier),
]
STATES = {Carrier.ONELINK: ("2", "4", "7"), Carrier.CONTROL_CENTER: ("ACTIVATED", "DEACTIVATED", "INVENTORY")}


@pytest.fixture
async def simulated(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Simulated]:
    """运营商那里的钟不走：几遍问的是同样的几天。

    两家各有 ``CARDS`` 张加 ``STRANGERS`` 张半天前刚变更过的卡，别的没有：变更列表有好几页，不随时刻而变。
    """
    async with simulating() as running:
        running.world.population.cards = 0
        now = running.world.now()
        monkeypatch.setattr(running.world, "now", lambda: now)
        start = now - timedelta(hours=12)
        for carrier, states in STATES.items():
            for index in range(CARDS + STRANGERS):
                moment = start + timedelta(seconds=index)
                override = Override(states[index % 3], exists=True, at=moment)
                running.world.population.overrides[carrier, iccid_at(carrier, index)] = override
        yield running


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


async def run(simulated: Simulated, attempt: Attempt[DataSyncPayload]) -> Outcome:
    """与产品一样入箱变更事件。"""
    async with gateways_of(simulated.config) as gateways:
        return await DataSync(gateways, RECORDER)(attempt)


async def submit(pool: Pool, simulated: Simulated, carrier: Carrier, kind: SyncType) -> Attempt[DataSyncPayload]:
    yesterday = simulated.world.today() - timedelta(days=1)
    payload = DataSyncPayload(
        sync_type=kind,
        start_date=yesterday - timedelta(days=1) if kind is SyncType.USAGE else yesterday,
        end_date=yesterday + timedelta(days=1) if kind is SyncType.SIM_STATUS else yesterday,
        batch_size=BATCH,
        carrier=carrier,
    )
    return await running_task(pool, "data:sync", payload)


async def empty_inventory(pool: Pool, carrier: Carrier) -> None:
    async with pool.connection() as connection:
        await connection.execute("truncate tb_sim, tb_sim_usage, tb_sim_event, tb_task, tb_outbox")
    await register(pool, carrier, [iccid_at(carrier, index) for index in range(CARDS)])


async def stored(pool: Pool) -> list[list[tuple[Any, ...]]]:
    return [await rows(pool, query) for query in (SIMS, USAGE, EVENTS, STAGED)]


async def survive(
    simulated: Simulated, attempt: Attempt[DataSyncPayload], chance: random.Random
) -> tuple[dict[str, Any], int]:
    """一次次死在随机的地方，直到做完；返回结果与死了几次。"""
    deaths = 0
    while True:
        doomed = chance.choice([DiesBetweenBatches, DiesBeforeCommit])(
            attempt.fence,
            attempt.type,
            1,
            6,
            attempt.payload,
            fatal=chance.randint(1, 4),
        )
        try:
            return result_of(await run(simulated, doomed)), deaths
        except asyncio.CancelledError:
            deaths += 1
            attempt = await delivered_again(attempt)


@pytest.mark.parametrize("seed", [20_261, pytest.param(7, marks=pytest.mark.long)])
@pytest.mark.parametrize(("carrier", "kind"), EVERY_SYNC)
async def test_dying_at_random_points_ends_with_the_same_rows_and_result(
    pool: Pool, simulated: Simulated, carrier: Carrier, kind: SyncType, seed: int
) -> None:
    await empty_inventory(pool, carrier)
    whole = result_of(await run(simulated, await submit(pool, simulated, carrier, kind)))
    expected = await stored(pool)
    await empty_inventory(pool, carrier)
    attempt = await submit(pool, simulated, carrier, kind)
    broken, deaths = await survive(simulated, attempt, random.Random(seed))
    assert deaths >= 1
    assert broken == whole
    assert whole["fetched"] >= CARDS * (2 if kind is SyncType.USAGE else 1)  # 一口气做完的自己也没有漏
    assert await stored(pool) == expected
    assert any(expected)


@pytest.mark.parametrize(
    ("carrier", "kind"),
    [pytest.param(*one, marks=pytest.mark.long) if one in LONG_SYNC else one for one in EVERY_SYNC],
)
async def test_a_process_killed_anywhere_leaves_nothing_to_do_twice(
    environ: dict[str, str], pool: Pool, simulated: Simulated, redis: Redis, carrier: Carrier, kind: SyncType
) -> None:
    await empty_inventory(pool, carrier)
    whole = result_of(await run(simulated, await submit(pool, simulated, carrier, kind)))
    total, expected = simulated.calls(carrier), await stored(pool)
    *_, events, staged = expected
    assert sorted(staged) == sorted((iccid, old, new) for iccid, old, new, _ in events)  # 每个变更恰好入箱一次
    assert len(staged) == (CARDS if kind is SyncType.SIM_STATUS else 0)
    chance = random.Random(f"{carrier}{kind}")
    batches = 0
    for half in range(2):  # 全程分两段，每段里抽一次调用
        await empty_inventory(pool, carrier)
        await redis.flushdb()  # 上一个死者占着的并发名额
        simulated.faults(carrier, latency=0.005)
        attempt = await submit(pool, simulated, carrier, kind)
        asked = simulated.calls(carrier) + chance.randint(total * half // 2 + 1, total * (half + 1) // 2)
        process = await start(environ, attempt, simulated.config.onelink.base_url)
        await killed_at(asked, process, partial(simulated.calls, carrier))
        ((batches,),) = await rows(pool, POINTS, attempt.task_id)
        simulated.faults(carrier)
        assert result_of(await run(simulated, await delivered_again(attempt))) == whole
        assert await stored(pool) == expected
    assert batches > 0  # 死在最后一段的，是从检查点接着走的
