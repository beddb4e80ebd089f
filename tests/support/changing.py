"""改卡的用例共用：模拟器里与库存里同样的卡，产品的处理器在真的 worker 里，和柜台做过几次的账。"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from kaguan.database.pool import Pool
from kaguan.dev.simulator import iccid_at
from kaguan.dev.simulator.population import Override
from kaguan.outbox.task_type import Backoff
from kaguan.outbox.work.verification import Verified
from kaguan.sims.tasks import SIM_CHANGE, SimChangePayload
from kaguan.sims.vocabulary import Carrier
from tests.support.carrier_world import Simulated, gateways_of, rows, simulating
from tests.support.eventually import eventually
from tests.support.fault_plant import relaying
from tests.support.pipeline import Pipeline
from tests.support.serving import Api
from workers.sim.changing import ChangeVerify, Desk, SimChanger

ONELINK, CENTER = Carrier.ONELINK, Carrier.CONTROL_CENTER
ACTIVE = {ONELINK: "2", CENTER: "ACTIVATED"}
SUSPENDED = {ONELINK: "4", CENTER: "DEACTIVATED"}
QUICK = replace(SIM_CHANGE, backoff=Backoff(0.05, 0.2))
GRACE = 1.0  # 秒


def cards(carrier: Carrier, count: int, first: int = 0) -> list[str]:
    return [iccid_at(carrier, index) for index in range(first, first + count)]


async def stock(
    pool: Pool, simulated: Simulated, carrier: Carrier, iccids: Sequence[str], state: str = "active"
) -> None:
    """两边都有的卡，状态说好了。"""
    raw = (ACTIVE if state == "active" else SUSPENDED)[carrier]
    now = simulated.world.now()
    for iccid in iccids:
        simulated.world.population.overrides[carrier, iccid] = Override(raw, exists=True, at=now)
    async with pool.connection() as connection:
        await connection.execute(
            "insert into tb_sim (iccid, carrier, luhn_valid, lifecycle_state) select unnest(%s::text[]), %s, true, %s",
            (list(iccids), carrier, state),
        )


def executions(simulated: Simulated, carrier: Carrier | None = None) -> Counter[str]:
    """每张卡在运营商那里真的做了几次。"""
    simulated.world.settle()
    done = simulated.world.counter.executions
    return Counter(one.iccid for one in done if carrier is None or one.carrier is carrier)


@dataclass(frozen=True, slots=True)
class Works:
    """跑着的一套：API、relay、worker、模拟器。"""

    api: Api
    pipeline: Pipeline
    simulated: Simulated

    async def change(self, iccids: Sequence[str], change: str = "suspend", **more: Any) -> int:
        """要求一次，返回变更的号。"""
        body = {"change": change, "iccids": list(iccids), "reason": "客户停用", **more}
        reply = await self.api.post("/sims/changes", body)
        assert reply.status in {200, 202}, reply.text
        return int(reply.data["id"])

    async def receipts(self, change: int) -> dict[str, dict[str, Any]]:
        reply = await self.api.get(f"/sims/changes/{change}")
        assert reply.status == 200, reply.text
        return {one["iccid"]: one for one in reply.data["receipts"]}

    async def until(self, change: int, *statuses: str) -> dict[str, dict[str, Any]]:
        """等到每张卡都是其中一种状态。"""

        async def reached() -> bool:
            found = await self.receipts(change)
            return all(one["status"] in statuses for one in found.values())

        try:
            await eventually(reached)
        except AssertionError as failure:
            failure.add_note(str({iccid: one["status"] for iccid, one in (await self.receipts(change)).items()}))
            raise
        return await self.receipts(change)

    async def states(self, iccids: Sequence[str]) -> set[str]:
        found = await rows(self.pipeline.pool, "select lifecycle_state from tb_sim where iccid = any(%s)", list(iccids))
        return {row[0] for row in found}


@asynccontextmanager
async def works(api: Api, pipeline: Pipeline, **knobs: object) -> AsyncIterator[Works]:
    async with (
        simulating(**{"change_grace": GRACE, **knobs}) as simulated,
        gateways_of(simulated.config) as gateways,
        changing(pipeline, Desk(gateways, simulated.config)),
        relaying(pipeline),
    ):
        yield Works(api, pipeline, simulated)


@asynccontextmanager
async def changing(pipeline: Pipeline, desk: Desk) -> AsyncIterator[Verified[SimChangePayload]]:
    """真的 worker，产品的处理器。"""
    handler = Verified(SimChanger(desk), ChangeVerify(desk), resend=False)
    async with pipeline.working(handler, types=(QUICK,)):
        yield handler
