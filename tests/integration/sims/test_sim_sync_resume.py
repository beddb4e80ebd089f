"""sim:status_sync 的进程死在随便哪里都接得上：行、事件与结果和一口气做完的一样。"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kaguan.database.pool import Pool
from kaguan.dev.simulator import iccid_at
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Done
from kaguan.sims.tasks import SimStatusPayload
from kaguan.sims.vocabulary import Carrier
from tests.support.carrier_world import NO_SUCH_CARD, Simulated, gateways_of, register, rows, simulating
from tests.support.running_task import running_task
from tests.support.sync_deaths import EVENTS, RECORDER, SIMS, STAGED, delivered_again, killed_at, start
from workers.sim.handler import SimStatusSync

CARDS = {Carrier.ONELINK: 450, Carrier.CONTROL_CENTER: 45}  # 各五批
MINE = [iccid_at(carrier, index) for carrier, count in CARDS.items() for index in range(count)]


@pytest.fixture
async def simulated(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Simulated]:
    """运营商那里的钟不走：卡的状态按时刻变，几遍要在同一刻里。"""
    async with simulating() as running:
        now = running.world.now()
        monkeypatch.setattr(running.world, "now", lambda: now)
        yield running


async def empty_inventory(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute("truncate tb_sim, tb_sim_event, tb_task, tb_outbox")
    for carrier, count in CARDS.items():
        await register(pool, carrier, [iccid_at(carrier, index) for index in range(count)])
    await register(pool, Carrier.ONELINK, [NO_SUCH_CARD])


async def submit(pool: Pool) -> Attempt[SimStatusPayload]:
    return await running_task(pool, "sim:status_sync", SimStatusPayload(iccids=(*MINE, NO_SUCH_CARD), force_sync=True))


async def result_of(simulated: Simulated, attempt: Attempt[SimStatusPayload]) -> dict[str, Any]:
    async with gateways_of(simulated.config) as gateways:
        outcome = await SimStatusSync(gateways, simulated.config, RECORDER)(attempt)
    assert isinstance(outcome, Done)
    return outcome.result


@pytest.mark.parametrize("seed", [0, 2])
async def test_a_killed_process_leaves_nothing_to_do_twice(
    environ: dict[str, str], pool: Pool, simulated: Simulated, seed: int
) -> None:
    await empty_inventory(pool)
    whole = await result_of(simulated, await submit(pool))
    expected = [await rows(pool, query) for query in (SIMS, EVENTS, STAGED)]
    await empty_inventory(pool)
    for carrier in Carrier:
        simulated.faults(carrier, latency=0.01)
    attempt = await submit(pool)

    def calls() -> int:
        return sum(simulated.calls(carrier) for carrier in Carrier)

    halfway = calls() + random.Random(seed).randint(2, 45)
    process = await start(environ, attempt, simulated.config.onelink.base_url)
    await killed_at(halfway, process, calls)
    for carrier in Carrier:
        simulated.faults(carrier)
    assert await result_of(simulated, await delivered_again(attempt)) == whole
    assert [await rows(pool, query) for query in (SIMS, EVENTS, STAGED)] == expected
    assert len(expected[-1]) == len(MINE)
