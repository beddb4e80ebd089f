"""sim:change 走完全程：API → relay → worker → 运营商；每种故障，一张卡恰好做一次，或者说得出不明。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
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
from tests.support.pipeline import open_pipeline
from tests.support.running_task import running_task
from tests.support.serving import Api
from workers.sim.changing import ChangeVerify, Desk, SimChanger

RECEIPT = "insert into tb_sim_receipt (change_id, iccid, task_id) values (1, %s, %s)"
every_carrier = pytest.mark.parametrize("carrier", list(Carrier))


@pytest.fixture
async def running(api: Api, settings: Settings, pool: Pool) -> AsyncIterator[Works]:
    async with open_pipeline(settings, pool) as pipeline, works(api, pipeline) as found:
        yield found


PASSING = {"missed_rate", "error_rate", "rate_limit_rate"}


@every_carrier
async def test_each_card_is_changed_once_and_its_receipt_says_what_was_seen(running: Works, carrier: Carrier) -> None:
    mine = cards(carrier, 6)
    await stock(running.api.pool, running.simulated, carrier, mine)
    receipts = await running.until(await running.change(mine), "succeeded")
    assert executions(running.simulated) == dict.fromkeys(mine, 1)
    for one in receipts.values():
        assert {"seen_at", "status"} <= set(one["evidence"])
        assert one["called_at"] <= one["settled_at"]
        assert (one["order_number"] is None) == (carrier is CENTER)
    assert await running.states(mine) == {"suspended"}
    events = "select iccid, old_state, new_state, task_id::text from tb_sim_event order by iccid"
    assert await rows(running.api.pool, events) == [
        (iccid, "active", "suspended", receipts[iccid]["task_id"]) for iccid in sorted(mine)
    ]


@every_carrier
@pytest.mark.parametrize(
    "faults",
    [
        {"lost_rate": 1.0},
        {"half_rate": 1.0},
        {"missed_rate": 1.0},
        {"later_rate": 1.0, "later": 1.0},
        {"rate_limit_rate": 0.5, "retry_after": 0},
        {"error_rate": 0.3},
    ],
    ids=["did it, answer lost", "did half", "did nothing", "did it later", "rate limited", "errors"],
)
async def test_whatever_the_carrier_does_a_card_is_changed_once(
    running: Works, carrier: Carrier, faults: dict[str, Any]
) -> None:
    mine = cards(carrier, 6)
    await stock(running.api.pool, running.simulated, carrier, mine)
    running.simulated.faults(carrier, **faults)
    change = await running.change(mine)
    await eventually(lambda: running.simulated.calls(carrier) >= len(mine))
    # 没做就没了的、出错的到此为止：一再出错，退避就长得等不到头
    running.simulated.faults(carrier, **{name: value for name, value in faults.items() if name not in PASSING})
    receipts = await running.until(change, "succeeded")
    assert executions(running.simulated) == dict.fromkeys(mine, 1)
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


@every_carrier
async def test_a_refusal_is_told_in_the_carriers_words_and_nothing_is_done(running: Works, carrier: Carrier) -> None:
    mine = cards(carrier, 2)
    await stock(running.api.pool, running.simulated, carrier, mine)
    running.simulated.faults(carrier, wrong_state_rate=1.0)
    receipts = await running.until(await running.change(mine), "refused")
    words = {ONELINK: "当前状态不允许", CENTER: "Invalid status transition"}[carrier]
    assert all(words in one["reason"] for one in receipts.values())
    assert executions(running.simulated) == {}
    assert await running.states(mine) == {"active"}


async def test_a_plan_is_changed_and_stands_on_the_card(running: Works) -> None:
    mine = [*cards(ONELINK, 2), *cards(CENTER, 2)]
    for carrier in Carrier:
        await stock(running.api.pool, running.simulated, carrier, cards(carrier, 2))
    await running.until(await running.change(mine, "plan", plan="100M"), "succeeded")
    assert executions(running.simulated) == dict.fromkeys(mine, 1)
    plans = "select plan, lifecycle_state from tb_sim where iccid = any(%s) group by 1, 2"
    assert await rows(running.api.pool, plans, mine) == [("100M", "active")]


@every_carrier
async def test_changes_of_one_card_are_done_in_the_order_they_were_asked(running: Works, carrier: Carrier) -> None:
    """停了又复、复了又停，应答都丢了：一次也不多，一次也不少，次序不乱。"""
    [card] = mine = cards(carrier, 1)
    await stock(running.api.pool, running.simulated, carrier, mine)
    running.simulated.faults(carrier, lost_rate=1.0)
    for change in ("suspend", "resume", "suspend"):
        last = await running.change(mine, change)
    await running.until(last, "succeeded")
    done = [one.value for one in running.simulated.world.counter.executions]
    assert done == [SUSPENDED[carrier], ACTIVE[carrier], SUSPENDED[carrier]]
    assert executions(running.simulated) == {card: 3}


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


@pytest.mark.parametrize(("said", "status"), [("happened", "succeeded"), ("not_happened", "failed")])
async def test_what_nobody_can_tell_is_a_doubt_until_a_person_says_what_happened(
    running: Works, said: str, status: str
) -> None:
    """运营商从此不答：任务不明，回执不明，后面的等着；人说了，回执就有定论，凭的是他的话。"""
    [card] = mine = cards(ONELINK, 1)
    await stock(running.api.pool, running.simulated, ONELINK, mine)
    running.simulated.faults(ONELINK, lost_rate=1.0)
    change = await running.change(mine)
    follower = await running.change(mine, "plan", plan="100M")
    await eventually(lambda: executions(running.simulated) == {card: 1})
    running.simulated.faults(ONELINK, drop_rate=1.0)
    receipt = (await running.until(change, "uncertain"))[card]
    assert receipt["settled_at"] is None
    assert (await running.receipts(follower))[card]["status"] == "pending"
    note = {"outcome": said, "note": "打电话问的，单号 42"}
    assert (await running.api.post(f"/tasks/{receipt['task_id']}/resolve", note)).status == 200
    receipt = (await running.receipts(change))[card]
    assert receipt["status"] == status
    assert receipt["settled_at"] is not None
    if said == "happened":
        assert (receipt["evidence"]["said_by"], receipt["evidence"]["note"]) == ("test", note["note"])
        running.simulated.faults(ONELINK)
        await running.until(follower, "succeeded")


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


@every_carrier
async def test_a_change_that_is_underway_is_not_called_done(running: Works, carrier: Carrier) -> None:
    """运营商收下了、过一小时才做：其间是没做完，只问不再要；做了才算做成。"""
    [card] = mine = cards(carrier, 1)
    await stock(running.api.pool, running.simulated, carrier, mine)
    running.simulated.faults(carrier, later_rate=1.0, later=3_600)
    change = await running.change(mine)
    asked = {ONELINK: "order-result", CENTER: "audit-trails"}[carrier]
    await eventually(lambda: running.simulated.world.gates[carrier].calls[asked] > 1)
    assert (await running.receipts(change))[card]["status"] == "pending"
    assert await running.states(mine) == {"active"}
    running.simulated.world.offset += timedelta(hours=2)
    receipt = (await running.until(change, "succeeded"))[card]
    assert receipt["evidence"]
    told = {ONELINK: "change-sim-status", CENTER: "edit-device"}[carrier]
    assert running.simulated.world.gates[carrier].calls[told] == 1


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
