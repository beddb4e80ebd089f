"""改卡的合同，两家都过：做一次、查得到、拒绝说得出原话、没有回音的分得清做没做。"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from kaguan.carriers.build import change_limits
from kaguan.carriers.gateway import (
    ChangingGateway,
    CircuitOpenError,
    Order,
    RateLimitedError,
    Stage,
    TransientError,
    UnsentError,
)
from kaguan.dev.simulator.population import Override
from kaguan.sims.vocabulary import Carrier, Change, LifecycleState
from tests.support.carrier_world import NO_SUCH_CARD, Simulated, gateways_of, simulating
from tests.support.changing import ACTIVE, CENTER, ONELINK, SUSPENDED, cards, executions

every_carrier = pytest.mark.parametrize("carrier", list(Carrier))
PLANNED = "100M"


@pytest.fixture
async def simulated() -> AsyncIterator[Simulated]:
    async with simulating() as running:
        yield running


@pytest.fixture
async def gateways(simulated: Simulated) -> AsyncIterator[Mapping[Carrier, ChangingGateway]]:
    async with gateways_of(simulated.config) as opened:
        yield opened


def wanted(simulated: Simulated, gateway: ChangingGateway, change: Change, raw: str, iccid: str | None = None) -> Order:
    """一张状态是 ``raw`` 的卡，要这样改。"""
    card = iccid or cards(gateway.carrier, 1)[0]
    now = simulated.world.now()
    if iccid is None:
        simulated.world.population.overrides[gateway.carrier, card] = Override(raw, exists=True, at=now)
    return Order(
        iccid=card,
        change=change,
        plan=PLANNED if change is Change.PLAN else None,
        state=LifecycleState.UNKNOWN,
        reference=gateway.reference(),
        since=now - timedelta(minutes=1),
    )


def before(carrier: Carrier, change: Change) -> str:
    ready = {ONELINK: "1", CENTER: "ACTIVATION_READY"}[carrier]
    return {Change.RESUME: SUSPENDED[carrier], Change.ACTIVATE: ready}.get(change, ACTIVE[carrier])


@every_carrier
@pytest.mark.parametrize("change", list(Change))
async def test_a_change_is_done_once_and_what_was_seen_says_so(
    gateways: Mapping[Carrier, ChangingGateway], simulated: Simulated, carrier: Carrier, change: Change
) -> None:
    gateway = gateways[carrier]
    assert change in change_limits(simulated.config).able[carrier]
    order = wanted(simulated, gateway, change, before(carrier, change))
    answer = await gateway.change(order)
    assert (answer.stage, answer.number is None) == (Stage.UNDERWAY, carrier is CENTER)
    seen = await gateway.order(order)
    assert seen is not None
    assert (seen.stage, seen.number) == (Stage.DONE, answer.number)
    assert seen.evidence
    if change is not Change.PLAN:
        assert seen.card is not None
        assert seen.card.state is (LifecycleState.SUSPENDED if change is Change.SUSPEND else LifecycleState.ACTIVE)
    assert executions(simulated) == {order.iccid: 1}


@every_carrier
async def test_before_it_was_asked_there_is_no_such_order(
    gateways: Mapping[Carrier, ChangingGateway], simulated: Simulated, carrier: Carrier
) -> None:
    gateway = gateways[carrier]
    assert await gateway.order(wanted(simulated, gateway, Change.SUSPEND, ACTIVE[carrier])) is None


@every_carrier
@pytest.mark.parametrize("faults", [{"wrong_state_rate": 1.0}, {"denied_rate": 1.0}], ids=["wrong state", "denied"])
async def test_a_refusal_is_an_answer_with_the_carriers_words(
    gateways: Mapping[Carrier, ChangingGateway], simulated: Simulated, carrier: Carrier, faults: dict[str, Any]
) -> None:
    simulated.faults(carrier, **faults)
    gateway = gateways[carrier]
    answer = await gateway.change(wanted(simulated, gateway, Change.SUSPEND, ACTIVE[carrier]))
    assert answer.stage is Stage.REFUSED
    assert answer.words
    assert answer.failure
    stranger = await gateway.change(wanted(simulated, gateway, Change.SUSPEND, "", NO_SUCH_CARD))
    assert stranger.stage is Stage.REFUSED
    assert executions(simulated) == {}


@every_carrier
@pytest.mark.parametrize("done", [True, False], ids=["did it", "did not"])
async def test_a_lost_answer_is_one_request_and_the_carrier_can_be_asked(
    gateways: Mapping[Carrier, ChangingGateway], simulated: Simulated, carrier: Carrier, done: bool
) -> None:
    """连接断了也不自己再发一遍：复用的连接、GET 与 PUT，客户端库本来会。"""
    gateway = gateways[carrier]
    await gateway.statuses(cards(carrier, 1))  # 连接建好，留着复用
    order = wanted(simulated, gateway, Change.SUSPEND, ACTIVE[carrier])
    simulated.faults(carrier, **{"lost_rate" if done else "missed_rate": 1.0})
    calls = simulated.calls(carrier)
    with pytest.raises(TransientError) as lost:
        await gateway.change(order)
    assert not isinstance(lost.value, UnsentError | CircuitOpenError)
    assert simulated.calls(carrier) == calls + 1
    simulated.faults(carrier)
    seen = await gateway.order(order)
    assert (seen is not None) is done
    assert executions(simulated) == (Counter([order.iccid]) if done else Counter())


@every_carrier
async def test_done_later_is_underway_until_it_is_done(
    gateways: Mapping[Carrier, ChangingGateway], simulated: Simulated, carrier: Carrier
) -> None:
    gateway = gateways[carrier]
    order = wanted(simulated, gateway, Change.SUSPEND, ACTIVE[carrier])
    simulated.faults(carrier, later_rate=1.0, later=3_600)
    await gateway.change(order)
    seen = await gateway.order(order)
    assert (None if seen is None else seen.stage) is (None if carrier is CENTER else Stage.UNDERWAY)
    simulated.world.offset += timedelta(hours=2)
    seen = await gateway.order(order)
    assert seen is not None
    assert seen.stage is Stage.DONE


@every_carrier
async def test_told_to_slow_down_nothing_was_done(
    gateways: Mapping[Carrier, ChangingGateway], simulated: Simulated, carrier: Carrier
) -> None:
    gateway = gateways[carrier]
    order = wanted(simulated, gateway, Change.SUSPEND, ACTIVE[carrier])
    simulated.faults(carrier, rate_limit_rate=1.0, retry_after=7, in_body=carrier is ONELINK)
    with pytest.raises(RateLimitedError):
        await gateway.change(order)
    assert executions(simulated) == {}


@every_carrier
async def test_a_carrier_that_cannot_be_reached_was_not_asked(carrier: Carrier, simulated: Simulated) -> None:
    part = getattr(simulated.config, carrier)
    away = simulated.changed(**{carrier: {**part.model_dump(), "base_url": "http://127.0.0.1:1"}})
    async with gateways_of(away) as gateways:
        with pytest.raises(UnsentError):
            await gateways[carrier].change(wanted(simulated, gateways[carrier], Change.SUSPEND, ACTIVE[carrier]))


async def test_what_was_done_and_then_undone_is_found_in_the_audit_history(
    gateways: Mapping[Carrier, ChangingGateway], simulated: Simulated
) -> None:
    """别人又改回去了：做过就是做过，不再做一次；比它更早的那一次不算它的。"""
    gateway = gateways[CENTER]
    order = wanted(simulated, gateway, Change.SUSPEND, ACTIVE[CENTER])
    await gateway.change(order)
    now = simulated.world.now()
    simulated.world.population.overrides[CENTER, order.iccid] = Override(ACTIVE[CENTER], exists=True, at=now)
    seen = await gateway.order(order)
    assert seen is not None
    assert seen.stage is Stage.DONE
    later = Order(
        iccid=order.iccid,
        change=order.change,
        plan=None,
        state=order.state,
        reference="",
        since=simulated.world.counter.executions[0].at,
    )
    assert await gateway.order(later) is None
