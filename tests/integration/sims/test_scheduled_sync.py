"""配置里的定时同步一路走到库里：到期、成任务、问运营商；两天后的更正也收得到，同一计划一次一个。"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

import aiohttp
import pytest

from kaguan.config import Settings, load_settings
from kaguan.config.schedules import Schedule
from kaguan.database.pool import Pool
from kaguan.dev.simulator import iccid_at
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.schedule.due import latest_until
from kaguan.outbox.schedule.service import Schedules
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.testing import Recorder, drain
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Outcome
from kaguan.product.task_types import TASK_TYPES
from kaguan.sims.tasks import DATA_SYNC, DataSyncPayload
from kaguan.sims.vocabulary import Carrier
from tests.support.carrier_world import Simulated, gateways_of, register, rows, simulating
from workers.sync.handler import DataSync

CARDS = 200
OVERDUE = timedelta(days=2)


@pytest.fixture
def daily() -> Schedule:
    (schedule,) = (one for one in load_settings({}).schedules if one.name == "usage-daily")
    return schedule


async def fired(pool: Pool, schedule: Schedule, since: timedelta) -> None:
    """relay 登记过它，最近一次再往前 ``since`` 起没人办，如今一次办完。"""
    relay = Schedules(pool, (schedule,), TaskTypes(TASK_TYPES), 6, Metrics())
    await relay.run_once()
    ((now,),) = await rows(pool, "select clock_timestamp()")
    latest = latest_until(schedule.cron, schedule.zone, now)
    await rows(pool, "update tb_schedule set next_due_at = %s returning 1", latest - since)
    assert await relay.run_once() == 1


@dataclass(slots=True)
class OnItsDay:
    """每一次同步都在它到期的那天执行：先把模拟器的钟拨到那天。记下第一次最后一天的更正次第。"""

    simulated: Simulated
    sync: DataSync
    revisions: list[dict[str, int]] = field(default_factory=list)
    day: date | None = None

    async def __call__(self, attempt: Attempt[DataSyncPayload]) -> Outcome:
        end = attempt.payload.end_date
        self.day = self.day or end
        url = f"{self.simulated.config.onelink.base_url}__admin/clock"
        change = {"now": f"{end + timedelta(days=1)}T02:30:00+08:00"}
        async with aiohttp.ClientSession() as session, session.put(url, json=change) as answer:
            assert answer.status == 200
        outcome = await self.sync(attempt)
        stored = await rows(attempt.pool, "select iccid, revision from tb_sim_usage where day = %s", self.day)
        self.revisions.append(dict(stored))
        return outcome


async def test_a_correction_two_days_late_is_stored_by_the_daily_sync(
    pool: Pool, settings: Settings, daily: Schedule
) -> None:
    cards = [iccid_at(Carrier.ONELINK, index) for index in range(CARDS)]
    await register(pool, Carrier.ONELINK, cards)
    await fired(pool, daily, OVERDUE)
    async with simulating() as simulated, gateways_of(simulated.config) as gateways:
        handler = OnItsDay(simulated, DataSync({Carrier.ONELINK: gateways[Carrier.ONELINK]}))
        assert await drain(pool, {DATA_SYNC: handler}, settings.tasks, settings.worker) == {"succeeded": 3}
    first, _, last = handler.revisions
    assert first == dict.fromkeys(cards, 1)
    assert handler.day is not None
    usage = simulated.world.population.usage
    assert 2 in last.values()
    assert last == {iccid: usage(iccid, handler.day, handler.day + OVERDUE).revision for iccid in cards}


async def test_runs_of_one_schedule_follow_one_another(pool: Pool, settings: Settings, daily: Schedule) -> None:
    await fired(pool, daily, OVERDUE)
    assert await rows(pool, "select count(*) from vw_task") == [(3,)]
    assert await rows(pool, "select count(*) from tb_outbox") == [(1,)]
    recorder = Recorder()
    assert await drain(pool, {DATA_SYNC: recorder}, settings.tasks, settings.worker) == {"succeeded": 3}
    days = [attempt.payload.start_date for attempt in recorder.attempts]
    assert days == sorted(days)
