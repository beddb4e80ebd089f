"""变更列表翻到一半又有卡变更：列表在脚下移动，一张也不漏。"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest

from kaguan.carriers.gateway import Capabilities, CarrierGateway, InfoResult, Page, StatusResult, UsageResult
from kaguan.database.pool import Pool
from kaguan.dev.simulator import iccid_at
from kaguan.dev.simulator.population import Override
from kaguan.outbox.work.outcome import Done
from kaguan.sims.tasks import DataSyncPayload
from kaguan.sims.vocabulary import Carrier, SyncType
from kaguan.words.zones import BUSINESS_ZONE
from tests.support.carrier_world import Simulated, gateways_of, register, rows, simulating
from tests.support.running_task import running_task
from workers.sync.handler import DataSync

CENTER = Carrier.CONTROL_CENTER
PAGES = 5
CARDS = PAGES * 50 - 20
MINE = [iccid_at(CENTER, index) for index in range(CARDS)]


@pytest.fixture
async def simulated() -> AsyncIterator[Simulated]:
    async with simulating() as running:
        running.world.population.cards = 0  # 列表里只有登记过的
        start = running.world.now() - timedelta(hours=12)
        for index, iccid in enumerate(MINE):
            change(running, iccid, "ACTIVATED", start + timedelta(seconds=index))
        yield running


def change(simulated: Simulated, iccid: str, state: str, at: datetime | None = None) -> None:
    moment = at or simulated.world.now()
    simulated.world.population.overrides[CENTER, iccid] = Override(state, exists=True, at=moment)


@dataclass
class Restless:
    """列表每答一页，就有几张卡在对方那里变更：看过的、没看过的都有。"""

    gateway: CarrierGateway
    simulated: Simulated
    turns: list[Sequence[str]]
    asked: list[int] = field(default_factory=list)

    @property
    def carrier(self) -> Carrier:
        return self.gateway.carrier

    @property
    def capabilities(self) -> Capabilities:
        return self.gateway.capabilities

    async def changed_between(self, since: datetime, until: datetime, page: int) -> Page:
        self.asked.append(page)
        answer = await self.gateway.changed_between(since, until, page)
        for iccid in self.turns.pop(0) if self.turns else ():
            change(self.simulated, iccid, "DEACTIVATED")
        return answer

    async def statuses(self, iccids: Sequence[str]) -> list[StatusResult]:
        return await self.gateway.statuses(iccids)

    async def infos(self, iccids: Sequence[str]) -> list[InfoResult]:
        return await self.gateway.infos(iccids)

    async def day_usage(self, iccids: Sequence[str], day: Any) -> list[UsageResult]:
        return await self.gateway.day_usage(iccids, day)

    async def ping(self) -> None:
        await self.gateway.ping()


async def sync(pool: Pool, simulated: Simulated, turns: list[Sequence[str]]) -> list[int]:
    await register(pool, CENTER, MINE)
    today = simulated.world.today()
    return await sync_between(pool, simulated, turns, today - timedelta(days=1), today)


async def sync_between(
    pool: Pool, simulated: Simulated, turns: list[Sequence[str]], first: date, last: date
) -> list[int]:
    payload = DataSyncPayload(sync_type=SyncType.SIM_STATUS, start_date=first, end_date=last, carrier=CENTER)
    attempt = await running_task(pool, "data:sync", payload)
    async with gateways_of(simulated.config) as gateways:
        restless = Restless(gateways[CENTER], simulated, turns)
        outcome = await DataSync({CENTER: restless})(attempt)
    assert isinstance(outcome, Done)
    assert outcome.result["covers"] == {CENTER: "changes"}
    return restless.asked


async def states(pool: Pool) -> dict[str, str | None]:
    return dict(await rows(pool, "select iccid, carrier_status from tb_sim"))


async def test_cards_that_change_while_the_pages_turn_push_none_out_of_sight(pool: Pool, simulated: Simulated) -> None:
    # 每页之后：一张最早变更的、一张中间的、一张最近的
    turns = [(MINE[turn], MINE[100 + turn], MINE[CARDS - 1 - turn]) for turn in range(8)]
    await sync(pool, simulated, list(turns))
    now = {iccid: simulated.world.population.state(CENTER, iccid, simulated.world.now()) for iccid in MINE}
    assert await states(pool) == now
    assert sum(state == "DEACTIVATED" for state in now.values()) == 24


async def test_a_quiet_listing_is_read_once_backwards_and_looked_at_once_more(pool: Pool, simulated: Simulated) -> None:
    asked = await sync(pool, simulated, [])
    # 找末页：1、2、4、8、6、5；再从 5 往回；最后第二遍一页
    assert asked == [1, 2, 4, 8, 6, 5, 4, 3, 2, 1, 1]
    assert set((await states(pool)).values()) == {"ACTIVATED"}


async def test_cards_changed_after_the_last_day_are_not_asked_for(pool: Pool, simulated: Simulated) -> None:
    """末日含在内，次日零点起的不算；途中变更的（第一张）已不在所要的日子里，也没有第二遍。"""
    last = simulated.world.today() - timedelta(days=3)
    midnight = datetime.combine(last + timedelta(days=1), time(), BUSINESS_ZONE)
    for index, iccid in enumerate(MINE):
        change(simulated, iccid, "DEACTIVATED", midnight + timedelta(seconds=index - 59.5))
    await register(pool, CENTER, MINE)
    asked = await sync_between(pool, simulated, [(MINE[0],)], last - timedelta(days=1), last)
    assert asked == [1, 2, 1]
    known = await states(pool)
    assert {iccid for iccid, state in known.items() if state == "DEACTIVATED"} == set(MINE[1:60])
