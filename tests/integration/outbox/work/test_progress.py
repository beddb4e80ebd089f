"""进度：做着的时候事件流里就看得见；报得再勤，落库至多每秒一次。"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import Any

import pytest
from aiohttp import ClientResponse, web

from kaguan.config.model import Tasks
from kaguan.database.pool import Pool
from kaguan.dev.simulator import iccid_at
from kaguan.dev.simulator.faults import Drift, Faults, Gate
from kaguan.outbox.work.outcome import Done
from kaguan.outbox.work.settlement import Settlement
from kaguan.sims.tasks import DataSyncPayload
from kaguan.sims.vocabulary import Carrier, SyncType
from tests.support.carrier_world import gateways_of, register, rows, simulating
from tests.support.eventually import PATIENCE
from tests.support.running_task import running_task
from tests.support.serving import Api
from workers.sync.handler import DataSync

ONELINK = Carrier.ONELINK
USAGE = "sim-data-usage-daily/batch"
CARDS = 13
BATCH = 5
REPORTS = 300
WRITTEN = "create table written (progress jsonb)"
NOTE_WRITTEN = """
create function note_written() returns trigger language plpgsql as
    $$ begin insert into written values (new.progress); return null; end $$
"""
COUNTED = "create trigger written after update of progress on tb_task for each row execute function note_written()"


class HeldGate(Gate):
    """答了第一批用量，余下的等到放行。"""

    def __init__(self) -> None:
        super().__init__(Faults(), seed=0)
        self.waiting = asyncio.Event()
        self.released = asyncio.Event()

    @asynccontextmanager
    async def call(self, operation: str, request: web.Request) -> AsyncIterator[Drift]:
        async with super().call(operation, request) as drift:
            if self.calls[USAGE] > 1:
                self.waiting.set()
                await self.released.wait()
            yield drift


def usage_of(day: date) -> DataSyncPayload:
    return DataSyncPayload(sync_type=SyncType.USAGE, start_date=day, end_date=day, batch_size=BATCH, carrier=ONELINK)


async def shown(stream: ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """事件流里一次次的任务。"""
    async for line in stream.content:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


@pytest.mark.unjudged("任务造出来就在跑")
async def test_the_event_stream_shows_the_progress_of_a_sync_while_it_runs(api: Api) -> None:
    async with asyncio.timeout(PATIENCE), simulating() as simulated, gateways_of(simulated.config) as gateways:
        gate = HeldGate()
        simulated.world.gates[ONELINK] = gate
        await register(api.pool, ONELINK, [iccid_at(ONELINK, index) for index in range(CARDS)])
        payload = usage_of(simulated.world.today() - timedelta(days=3))
        attempt = await running_task(api.pool, "data:sync", payload)
        url, headers = f"/api/v1/tasks/{attempt.task_id}/events", {"Authorization": f"Bearer {api.token}"}
        async with api.session.get(url, headers=headers) as stream:
            tasks = shown(stream)
            first = await anext(tasks)
            assert (first["status"], first["progress"]) == ("running", None)
            running = asyncio.create_task(DataSync(gateways)(attempt))
            try:
                await gate.waiting.wait()
                second = await anext(tasks)
                assert not running.done()
            finally:
                gate.released.set()
            assert second["status"] == "running"
            assert second["progress"] == {"done": BATCH, "total": None, "failed": 0, "parts_done": 0, "parts_total": 1}
            await Settlement(api.pool, "test", Tasks()).settle(attempt, await running)
            *_, last = [task async for task in tasks]
    assert last["status"] == "succeeded"
    assert last["progress"] == {"done": CARDS, "total": None, "failed": 0, "parts_done": 1, "parts_total": 1}


@pytest.mark.unjudged("任务造出来就在跑")
async def test_progress_reported_in_a_hurry_is_seldom_written_and_the_last_with_the_outcome(
    pool: Pool,
) -> None:
    async with pool.connection() as connection:
        for statement in (WRITTEN, NOTE_WRITTEN, COUNTED):
            await connection.execute(statement)
    attempt = await running_task(pool, "data:sync", usage_of(date(2026, 1, 1)))
    for done in range(1, REPORTS + 1):
        await attempt.report(done, REPORTS)
    ((written, first),) = await rows(pool, "select count(*), min((progress->>'done')::int) from written")
    assert first == 1
    assert written < REPORTS / 10
    await Settlement(pool, "test", Tasks()).settle(attempt, Done())
    assert await rows(pool, "select progress from vw_task") == [({"done": REPORTS, "total": REPORTS},)]
