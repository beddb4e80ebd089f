"""data:sync 死在随便哪里都接得上：每种方言 × 每种同步，最后的行与结果和一口气做完的一样。"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from kaguan.carriers.simulator import iccid_at
from kaguan.carriers.simulator.population import Override
from kaguan.sims.model import Carrier, SyncType
from kaguan.tasks.payloads import DataSyncPayload
from tests.carrier_world import Simulated, register, rows, running_task, simulating
from tests.integration.test_data_sync import DiesBeforeCommit, DiesBetweenBatches, result_of, run
from workers.attempt import Attempt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kaguan.database.pool import Pool

CARDS = 130
BATCH = 10
SIMS = """
select iccid, lifecycle_state, carrier_status, suspend_reason, msisdn, imsi, activated_on, version
from tb_sim order by iccid
"""
USAGE = "select iccid, day, carrier, data_bytes, sms_count, revision from tb_sim_usage order by iccid, day"
EVENTS = "select iccid, old_state, new_state, carrier_status from tb_sim_event order by iccid, id"
EVERY_SYNC = [(carrier, kind) for carrier in Carrier for kind in SyncType]
STATES = {Carrier.ONELINK: ("2", "4", "7"), Carrier.CONTROL_CENTER: ("ACTIVATED", "DEACTIVATED", "INVENTORY")}
START_TIMEOUT = 30.0  # 秒


@pytest.fixture
async def simulated() -> AsyncIterator[Simulated]:
    """两家各有 ``CARDS`` 张半天前刚变更过的卡：变更列表有好几页。"""
    async with simulating() as running:
        start = running.world.now() - timedelta(hours=12)
        for carrier, states in STATES.items():
            for index in range(CARDS):
                moment = start + timedelta(seconds=index)
                override = Override(states[index % 3], exists=True, at=moment)
                running.world.population.overrides[carrier, iccid_at(carrier, index)] = override
        yield running


async def submit(pool: Pool, simulated: Simulated, carrier: Carrier, kind: SyncType) -> Attempt:
    end = simulated.world.today() - timedelta(days=1)
    payload = DataSyncPayload(
        sync_type=kind,
        start_date=end - timedelta(days=1) if kind is SyncType.USAGE else end,
        end_date=end,
        batch_size=BATCH,
        carrier=carrier,
    )
    return await running_task(pool, "data:sync", payload)


async def empty_inventory(pool: Pool, carrier: Carrier) -> None:
    async with pool.connection() as connection:
        await connection.execute("truncate tb_sim, tb_sim_usage, tb_sim_event")
    await register(pool, carrier, [iccid_at(carrier, index) for index in range(CARDS)])


async def stored(pool: Pool) -> list[list[tuple[Any, ...]]]:
    return [await rows(pool, query) for query in (SIMS, USAGE, EVENTS)]


async def delivered_again(attempt: Attempt) -> Attempt:
    """租约被收走、重新投递：不计尝试。"""
    await rows(attempt.pool, "update tb_task set delivery = delivery + 1 where id = %s returning 1", attempt.task_id)
    return Attempt(attempt.pool, attempt.task_id, attempt.type, attempt.delivery + 1, 1, 6, attempt.payload)


async def survive(simulated: Simulated, attempt: Attempt, chance: random.Random) -> tuple[dict[str, Any], int]:
    """一次次死在随机的地方，直到做完；返回结果与死了几次。"""
    deaths = 0
    while True:
        doomed = chance.choice([DiesBetweenBatches, DiesBeforeCommit])(
            attempt.pool,
            attempt.task_id,
            attempt.type,
            attempt.delivery,
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


@pytest.mark.parametrize("seed", [20_261, 7])
@pytest.mark.parametrize(("carrier", "kind"), EVERY_SYNC)
async def test_dying_at_random_points_ends_with_the_same_rows_and_result(
    pool: Pool, simulated: Simulated, carrier: Carrier, kind: SyncType, seed: int
) -> None:
    await empty_inventory(pool, carrier)
    whole = result_of(await run(simulated, await submit(pool, simulated, carrier, kind)))
    expected = await stored(pool)
    await empty_inventory(pool, carrier)
    attempt = await submit(pool, simulated, carrier, kind)
    broken, deaths = await survive(simulated, attempt, random.Random(seed))  # noqa: S311 抽签
    assert deaths >= 1
    assert broken == whole
    assert whole["fetched"] >= CARDS * (2 if kind is SyncType.USAGE else 1)  # 一口气做完的自己也没有漏
    assert await stored(pool) == expected
    assert any(expected)


async def start(environ: dict[str, str], attempt: Attempt, url: str) -> asyncio.subprocess.Process:
    carriers = {
        "KAGUAN_CARRIERS__ONELINK__BASE_URL": url,
        "KAGUAN_CARRIERS__ONELINK__PASSWORD": "onelink-secret",
        "KAGUAN_CARRIERS__ONELINK__PER_SECOND": "1000",
        "KAGUAN_CARRIERS__CONTROL_CENTER__BASE_URL": url,
        "KAGUAN_CARRIERS__CONTROL_CENTER__API_KEY": "center-secret",
        "KAGUAN_CARRIERS__CONTROL_CENTER__PER_SECOND": "1000",
        "KAGUAN_CARRIERS__CONTROL_CENTER__SESSIONS": "false",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.sync_process", str(attempt.task_id), str(attempt.delivery),
        env={**os.environ, **environ, **carriers}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT) == "开始\n".encode()
    return process


@pytest.mark.parametrize(("carrier", "kind"), EVERY_SYNC)
async def test_a_killed_process_leaves_nothing_to_do_twice(
    environ: dict[str, str], pool: Pool, simulated: Simulated, carrier: Carrier, kind: SyncType
) -> None:
    await empty_inventory(pool, carrier)
    whole = result_of(await run(simulated, await submit(pool, simulated, carrier, kind)))
    expected = await stored(pool)
    await empty_inventory(pool, carrier)
    simulated.faults(carrier, latency=0.01)
    attempt = await submit(pool, simulated, carrier, kind)
    process = await start(environ, attempt, simulated.config.onelink.base_url)
    halfway = simulated.calls(carrier) + random.Random(f"{carrier}{kind}").randint(2, 4)  # noqa: S311 抽签
    while simulated.calls(carrier) < halfway:
        assert process.returncode is None
        await asyncio.sleep(0)  # 模拟器就在这个事件循环里
    process.send_signal(signal.SIGKILL)
    assert await asyncio.wait_for(process.wait(), START_TIMEOUT) == -signal.SIGKILL
    simulated.faults(carrier)
    broken = result_of(await run(simulated, await delivered_again(attempt)))
    assert broken == whole
    assert await stored(pool) == expected
