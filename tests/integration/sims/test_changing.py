"""sim:change 走完全程：API → relay → worker → 运营商；每种故障，一张卡恰好做一次，或者说得出不明。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from kaguan.config import Settings
from kaguan.database.pool import Pool
from kaguan.outbox.work.outcome import Uncertain
from kaguan.outbox.work.verification import NotHappened
from kaguan.sims.tasks import SimChangePayload
from kaguan.sims.vocabulary import Carrier, Change
from tests.support.carrier_world import gateways_of, rows, simulating
from tests.support.changing import ACTIVE, CENTER, ONELINK, SUSPENDED, Works, cards, executions, stock, works
from tests.support.eventually import PATIENCE, eventually
from tests.support.folded import folded
from tests.support.pipeline import open_pipeline
from tests.support.running_task import running_task
from tests.support.serving import Api
from workers.sim.changing import ChangeVerify, Desk, SimChanger

RECEIPT = "insert into tb_sim_receipt (change_id, iccid, task_id) values (1, %s, %s)"


@pytest.fixture
async def running(api: Api, settings: Settings, pool: Pool) -> AsyncIterator[Works]:
    async with open_pipeline(settings, pool) as pipeline, works(api, pipeline) as found:
        yield found


async def stocked(running: Works, count: int, first: int = 0) -> list[str]:
    """每家 ``count`` 张开着的卡，两边都有。"""
    for carrier in Carrier:
        await stock(running.api.pool, running.simulated, carrier, cards(carrier, count, first))
    return [iccid for carrier in (ONELINK, CENTER) for iccid in cards(carrier, count, first)]


PASSING = {"missed_rate", "error_rate", "rate_limit_rate"}


async def test_each_card_is_changed_once_and_its_receipt_says_what_was_seen(running: Works) -> None:
    mine = await stocked(running, 3)
    receipts = await running.until(await running.change(mine), "succeeded")
    assert executions(running.simulated) == dict.fromkeys(mine, 1)
    for iccid, one in receipts.items():
        assert {"seen_at", "status"} <= set(one["evidence"])
        assert one["called_at"] <= one["settled_at"]
        assert (one["order_number"] is None) == (iccid in cards(CENTER, 3))
    assert await running.states(mine) == {"suspended"}
    events = "select iccid, old_state, new_state, task_id::text from tb_sim_event order by iccid"
    assert await rows(running.api.pool, events) == [
        (iccid, "active", "suspended", receipts[iccid]["task_id"]) for iccid in sorted(mine)
    ]


@folded(
    ("turn", "faults"),
    enumerate(
        (
            {"lost_rate": 1.0},  # 做了，没有应答
            {"half_rate": 1.0},
            {"missed_rate": 1.0},  # 没做
            {"later_rate": 1.0, "later": 1.0},
            {"rate_limit_rate": 1.0, "retry_after": 0},
            {"error_rate": 1.0},
        )
    ),
)
async def test_whatever_the_carrier_does_a_card_is_changed_once(
    running: Works, turn: int, faults: dict[str, Any]
) -> None:
    mine = await stocked(running, 3, first=10 * turn)
    before = {carrier: running.simulated.calls(carrier) for carrier in Carrier}

    def asked(carrier: Carrier) -> bool:
        return running.simulated.calls(carrier) >= before[carrier] + 3

    for carrier in Carrier:
        running.simulated.faults(carrier, **faults)
    change = await running.change(mine)
    for carrier in Carrier:
        await eventually(partial(asked, carrier))
        # 没做就没了的、出错的到此为止：一再出错，退避就长得等不到头
        passing = {name: value for name, value in faults.items() if name not in PASSING}
        running.simulated.faults(carrier, **passing)
    receipts = await running.until(change, "succeeded")
    told = [one for past in range(turn + 1) for carrier in Carrier for one in cards(carrier, 3, first=10 * past)]
    assert executions(running.simulated) == dict.fromkeys(told, 1)
    assert all(one["evidence"] for one in receipts.values())
    assert await running.states(mine) == {"suspended"}


async def test_a_slow_carrier_is_asked_what_it_did_and_not_told_again(api: Api, settings: Settings, pool: Pool) -> None:
    """做完了才慢慢答，我们等不到：问出来是做了。"""
    knobs = {"time_budget": 1.0}
    async with open_pipeline(settings, pool) as pipeline, works(api, pipeline, **knobs) as running:
        mine = cards(CENTER, 2)
        await stock(pool, running.simulated, CENTER, mine)
        running.simulated.faults(CENTER, answer_delay=1.5, max_concurrency=None)
        change = await running.change(mine)
        await eventually(lambda: len(executions(running.simulated)) == len(mine))
        running.simulated.faults(CENTER)
        await running.until(change, "succeeded")
        assert executions(running.simulated) == dict.fromkeys(mine, 1)


async def test_a_refusal_is_told_in_the_carriers_words_and_nothing_is_done(running: Works) -> None:
    mine = await stocked(running, 1)
    for carrier in Carrier:
        running.simulated.faults(carrier, wrong_state_rate=1.0)
    receipts = await running.until(await running.change(mine), "refused")
    for card, words in zip(mine, ("当前状态不允许", "Invalid status transition"), strict=True):
        assert words in receipts[card]["reason"]
    assert executions(running.simulated) == {}
    assert await running.states(mine) == {"active"}


async def test_a_plan_is_changed_and_stands_on_the_card(running: Works) -> None:
    mine = await stocked(running, 2)
    await running.until(await running.change(mine, "plan", plan="100M"), "succeeded")
    assert executions(running.simulated) == dict.fromkeys(mine, 1)
    plans = "select plan, lifecycle_state from tb_sim where iccid = any(%s) group by 1, 2"
    assert await rows(running.api.pool, plans, mine) == [("100M", "active")]


async def test_changes_of_one_card_are_done_in_the_order_they_were_asked(running: Works) -> None:
    """停了又复、复了又停，应答都丢了：一次也不多，一次也不少，次序不乱。"""
    mine = await stocked(running, 1)
    for carrier in Carrier:
        running.simulated.faults(carrier, lost_rate=1.0)
    for change in ("suspend", "resume", "suspend"):
        last = await running.change(mine, change)
    await running.until(last, "succeeded")
    for carrier in Carrier:
        done = [one.value for one in running.simulated.world.counter.executions if one.carrier is carrier]
        assert done == [SUSPENDED[carrier], ACTIVE[carrier], SUSPENDED[carrier]]
    assert executions(running.simulated) == dict.fromkeys(mine, 3)


async def test_what_follows_a_refused_head_waits_until_somebody_decides(running: Works) -> None:
    [card] = mine = cards(ONELINK, 1)
    await stock(running.api.pool, running.simulated, ONELINK, mine)
    running.simulated.faults(ONELINK, denied_rate=1.0)
    head = await running.change(mine)
    follower = await running.change(mine, "plan", plan="100M")
    receipt = (await running.until(head, "refused"))[card]
    running.simulated.faults(ONELINK)
    other = cards(ONELINK, 1, first=50)
    await stock(running.api.pool, running.simulated, ONELINK, other)
    await running.until(await running.change(other), "succeeded")
    assert (await running.receipts(follower))[card]["status"] == "pending"
    asked = {"change": "plan", "plan": "1M", "iccids": mine, "reason": "r", "dry_run": True}
    again = await running.api.post("/sims/changes", asked)
    assert again.data["cards"][0]["behind"] == receipt["task_id"]
    assert (await running.api.post(f"/tasks/{receipt['task_id']}/retry", {})).status == 202
    await running.until(head, "succeeded")
    await running.until(follower, "succeeded")
    assert executions(running.simulated) == {card: 2, other[0]: 1}


async def test_what_nobody_can_tell_is_a_doubt_until_a_person_says_what_happened(running: Works) -> None:
    """运营商从此不答：任务不明，回执不明，后面的等着；人说了，回执就有定论，凭的是他的话。"""
    [happened, not_happened] = mine = cards(ONELINK, 2)
    await stock(running.api.pool, running.simulated, ONELINK, mine)
    running.simulated.faults(ONELINK, lost_rate=1.0)
    change = await running.change(mine)
    follower = await running.change(mine, "plan", plan="100M")
    await eventually(lambda: executions(running.simulated) == dict.fromkeys(mine, 1))
    running.simulated.faults(ONELINK, drop_rate=1.0)
    receipts = await running.until(change, "uncertain")
    assert {one["settled_at"] for one in receipts.values()} == {None}
    assert {one["status"] for one in (await running.receipts(follower)).values()} == {"pending"}
    for card, said, status in ((happened, "happened", "succeeded"), (not_happened, "not_happened", "failed")):
        note = {"outcome": said, "note": f"打电话问的，单号 {card}"}
        assert (await running.api.post(f"/tasks/{receipts[card]['task_id']}/resolve", note)).status == 200
        receipt = (await running.receipts(change))[card]
        assert receipt["status"] == status
        assert receipt["settled_at"] is not None
    receipt = (await running.receipts(change))[happened]
    assert (receipt["evidence"]["said_by"], receipt["evidence"]["note"]) == ("test", f"打电话问的，单号 {happened}")
    running.simulated.faults(ONELINK)

    async def followed() -> bool:
        return bool((await running.receipts(follower))[happened]["status"] == "succeeded")

    await eventually(followed)


async def test_a_cancelled_change_is_not_done_and_says_so(running: Works) -> None:
    [card] = mine = cards(ONELINK, 1)
    await stock(running.api.pool, running.simulated, ONELINK, mine)
    at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    change = await running.change(mine, schedule_at=at)
    task = (await running.receipts(change))[card]["task_id"]
    assert (await running.api.post(f"/tasks/{task}/cancel", {})).status == 200
    receipt = (await running.receipts(change))[card]
    assert (receipt["status"], receipt["reason"]) == ("failed", "人取消了")
    assert executions(running.simulated) == {}


async def test_a_change_that_is_underway_is_not_called_done(running: Works) -> None:
    """运营商收下了、过一小时才做：其间是没做完，只问不再要；做了才算做成。"""
    mine = await stocked(running, 1)
    for carrier in Carrier:
        running.simulated.faults(carrier, later_rate=1.0, later=3_600)
    change = await running.change(mine)
    gates = running.simulated.world.gates
    await eventually(lambda: gates[ONELINK].calls["order-result"] > 1 and gates[CENTER].calls["audit-trails"] > 1)
    assert {one["status"] for one in (await running.receipts(change)).values()} == {"pending"}
    assert await running.states(mine) == {"active"}
    running.simulated.world.offset += timedelta(hours=2)
    receipts = await running.until(change, "succeeded")
    assert all(one["evidence"] for one in receipts.values())
    assert (gates[ONELINK].calls["change-sim-status"], gates[CENTER].calls["edit-device"]) == (1, 1)


async def test_a_carrier_is_not_believed_before_what_is_on_its_way_has_had_its_time(pool: Pool) -> None:
    """没有回音，它说没有这回事：宽限之内说不清，过了才算没做。"""
    async with simulating(change_grace=PATIENCE) as simulated, gateways_of(simulated.config) as gateways:
        [card] = cards(CENTER, 1)
        await stock(pool, simulated, CENTER, [card])
        payload = SimChangePayload(change_id=1, iccid=card, carrier=CENTER, change=Change.SUSPEND)
        attempt = await running_task(pool, "sim:change", payload)
        async with pool.connection() as connection:
            await connection.execute(RECEIPT, (card, attempt.task_id))
        simulated.faults(CENTER, missed_rate=1.0)
        patient = Desk(gateways, simulated.config)
        assert isinstance(await SimChanger(patient)(attempt), Uncertain)
        simulated.faults(CENTER)
        assert await ChangeVerify(patient)(attempt) is None
        hasty = Desk(gateways, simulated.changed(change_grace=0.001))
        assert await ChangeVerify(hasty)(attempt) == NotHappened()
