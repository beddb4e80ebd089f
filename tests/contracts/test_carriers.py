"""每个适配器都要过的合同：经真的 HTTP 与模拟器对话，好的、坏的、慢的、变了样的。"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, datetime, timedelta

import pytest

from kaguan.carriers.gateway import (
    CardFailed,
    CardNotFound,
    CarrierError,
    CarrierGateway,
    ProtocolError,
    QueuedError,
    RateLimitedError,
    RejectedError,
    TransientError,
)
from kaguan.carriers.guarded import ATTEMPTS
from kaguan.dev.simulator import iccid_at
from kaguan.dev.simulator.population import Override
from kaguan.sims.cards import CardInfo, CardStatus, DayUsage
from kaguan.sims.vocabulary import Carrier, LifecycleState, SessionState, SuspendReason
from tests.support.carrier_world import CARDS, NO_SUCH_CARD, Simulated, gateways_of, simulating

YESTERDAY = datetime.now(UTC).date() - timedelta(days=2)

every_carrier = pytest.mark.parametrize("carrier", list(Carrier))
only_onelink = pytest.mark.parametrize("carrier", [Carrier.ONELINK])
only_center = pytest.mark.parametrize("carrier", [Carrier.CONTROL_CENTER])


@pytest.fixture
async def simulated() -> AsyncIterator[Simulated]:
    async with simulating() as running:
        yield running


@pytest.fixture
async def gateways(simulated: Simulated) -> AsyncIterator[Mapping[Carrier, CarrierGateway]]:
    async with gateways_of(simulated.config) as opened:
        yield opened


def cards(carrier: Carrier, count: int) -> list[str]:
    return [iccid_at(carrier, index) for index in range(count)]


@every_carrier
async def test_each_asked_card_gets_one_result_in_order(
    gateways: Mapping[Carrier, CarrierGateway], simulated: Simulated, carrier: Carrier
) -> None:
    gateway = gateways[carrier]
    asked = [*cards(carrier, gateway.capabilities.max_batch - 1), NO_SUCH_CARD]
    results = await gateway.statuses(asked)
    assert [result.iccid for result in results] == asked
    assert results[-1] == CardNotFound(NO_SUCH_CARD)
    population, now = simulated.world.population, simulated.world.now()
    for result in results[:-1]:
        assert isinstance(result, CardStatus)
        assert result.raw == population.state(carrier, result.iccid, now)
        assert result.state is not LifecycleState.UNKNOWN


@every_carrier
async def test_details_and_daily_usage_are_read(
    gateways: Mapping[Carrier, CarrierGateway], simulated: Simulated, carrier: Carrier
) -> None:
    asked = cards(carrier, 5)
    population = simulated.world.population
    assert await gateways[carrier].infos(asked) == [
        CardInfo(one, population.msisdn(carrier, one), population.imsi(carrier, one), population.activated_on(one))
        for one in asked
    ]
    expected = [population.usage(one, YESTERDAY, simulated.world.today()) for one in asked]
    assert await gateways[carrier].day_usage(asked, YESTERDAY) == [
        DayUsage(one, usage.kilobytes * 1024, usage.sms, usage.revision)
        for one, usage in zip(asked, expected, strict=True)
    ]


@every_carrier
async def test_a_batch_beyond_the_capability_is_refused_without_asking(
    gateways: Mapping[Carrier, CarrierGateway], simulated: Simulated, carrier: Carrier
) -> None:
    gateway = gateways[carrier]
    with pytest.raises(RejectedError):
        await gateway.statuses(cards(carrier, gateway.capabilities.max_batch + 1))
    assert simulated.calls(carrier) == 0


@every_carrier
async def test_an_unknown_code_is_a_state_not_an_error(
    gateways: Mapping[Carrier, CarrierGateway], simulated: Simulated, carrier: Carrier
) -> None:
    simulated.faults(carrier, unknown_rate=1.0)
    for result in await gateways[carrier].statuses(cards(carrier, 3)):
        assert isinstance(result, CardStatus)
        assert result.state is LifecycleState.UNKNOWN
        assert result.raw in {"99", "QUANTUM_READY"}
        assert result.unknown


@only_onelink
async def test_an_unknown_session_or_stop_reason_is_unknown_and_named(
    gateways: Mapping[Carrier, CarrierGateway], simulated: Simulated, carrier: Carrier
) -> None:
    asked = cards(carrier, 100)
    for iccid in asked:  # 全是停机的：每张都有停机原因
        simulated.world.population.overrides[carrier, iccid] = Override("4", exists=True, at=simulated.world.now())
    simulated.faults(carrier, unknown_rate=0.5)
    named: Counter[str] = Counter()
    for result in await gateways[carrier].statuses(asked):
        assert isinstance(result, CardStatus)
        suspended = "cardStatus=99" not in result.unknown
        assert (result.state is LifecycleState.SUSPENDED) == suspended
        assert (result.session is SessionState.UNKNOWN) == ("sessionStatus=99" in result.unknown)
        assert (result.suspend_reason is SuspendReason.UNKNOWN) == (suspended and "stopReason=99" in result.unknown)
        named.update(result.unknown)
    assert named.keys() == {"cardStatus=99", "sessionStatus=99", "stopReason=99"}


@every_carrier
@pytest.mark.parametrize("fault", ["error_rate", "rate_limit_rate", "drop_rate"])
async def test_a_passing_fault_is_survived(
    gateways: Mapping[Carrier, CarrierGateway], simulated: Simulated, carrier: Carrier, fault: str
) -> None:
    await gateways[carrier].ping()
    simulated.faults(carrier, **{fault: 1.0}, times=1)
    results = await gateways[carrier].statuses(cards(carrier, 3))
    assert all(isinstance(result, CardStatus) for result in results)


@every_carrier
@pytest.mark.parametrize(
    ("fault", "error"),
    [("error_rate", TransientError), ("rate_limit_rate", RateLimitedError), ("drop_rate", TransientError)],
)
async def test_a_lasting_fault_is_reported_after_bounded_tries(
    gateways: Mapping[Carrier, CarrierGateway],
    simulated: Simulated,
    carrier: Carrier,
    fault: str,
    error: type[CarrierError],
) -> None:
    await gateways[carrier].ping()
    before = simulated.calls(carrier)
    simulated.faults(carrier, **{fault: 1.0})
    with pytest.raises(error):
        await gateways[carrier].statuses(cards(carrier, 3))
    # 复用的连接断了，aiohttp 自己会再发一次
    assert ATTEMPTS <= simulated.calls(carrier) - before <= 2 * ATTEMPTS


@every_carrier
async def test_the_wait_a_carrier_asks_for_is_passed_on(
    gateways: Mapping[Carrier, CarrierGateway], simulated: Simulated, carrier: Carrier
) -> None:
    await gateways[carrier].ping()
    simulated.faults(carrier, rate_limit_rate=1.0, retry_after=120)
    with pytest.raises(RateLimitedError) as caught:
        await gateways[carrier].statuses(cards(carrier, 1))
    assert caught.value.retry_after == 120


@every_carrier
async def test_records_that_drifted_fail_alone(
    gateways: Mapping[Carrier, CarrierGateway], simulated: Simulated, carrier: Carrier
) -> None:
    simulated.faults(carrier, drift="missing_field")
    asked = cards(carrier, 3)
    expected = [CardFailed(iccid, "malformed_record", retryable=False) for iccid in asked]
    assert await gateways[carrier].statuses(asked) == expected
    assert await gateways[carrier].day_usage(asked, YESTERDAY) == expected


@every_carrier
@pytest.mark.parametrize("drift", ["wrong_shape", "not_json"])
async def test_an_answer_of_another_shape_is_a_protocol_error(
    gateways: Mapping[Carrier, CarrierGateway], simulated: Simulated, carrier: Carrier, drift: str
) -> None:
    await gateways[carrier].ping()
    simulated.faults(carrier, drift=drift)
    with pytest.raises(ProtocolError):
        await gateways[carrier].statuses(cards(carrier, 3))


@every_carrier
async def test_the_time_budget_ends_a_call_that_hangs(simulated: Simulated, carrier: Carrier) -> None:
    simulated.faults(carrier, latency=60)
    async with gateways_of(simulated.changed(time_budget=0.2)) as gateways:
        with pytest.raises((TransientError, QueuedError)):  # 排上之前就到时候了的，没有去问
            await gateways[carrier].statuses(cards(carrier, 3))


@every_carrier
async def test_wrong_credentials_are_rejected_at_once(simulated: Simulated, carrier: Carrier) -> None:
    part = simulated.config.model_dump()[carrier]
    secret = "password" if carrier is Carrier.ONELINK else "api_key"
    async with gateways_of(simulated.changed(**{carrier: {**part, secret: "wrong"}})) as gateways:
        with pytest.raises(RejectedError):
            await gateways[carrier].statuses(cards(carrier, 3))
    assert simulated.calls(carrier) == 1


@only_onelink
async def test_an_expired_token_is_renewed_once_for_all_waiting_calls(
    gateways: Mapping[Carrier, CarrierGateway], simulated: Simulated, carrier: Carrier
) -> None:
    gateway = gateways[carrier]
    await gateway.statuses(cards(carrier, 1))
    simulated.world.offset += timedelta(minutes=31)
    answers = await asyncio.gather(*(gateway.statuses(cards(carrier, 2)) for _ in range(10)))
    assert all(isinstance(result, CardStatus) for answer in answers for result in answer)
    assert simulated.world.gates[carrier].calls["get-token"] == 2


@only_onelink
async def test_a_token_refused_again_after_its_renewal_is_tried_later_not_in_a_loop(
    gateways: Mapping[Carrier, CarrierGateway], simulated: Simulated, carrier: Carrier
) -> None:
    simulated.faults(carrier, token_lifetime=0)
    with pytest.raises(TransientError):
        await gateways[carrier].statuses(cards(carrier, 1))
    assert simulated.world.gates[carrier].calls["get-token"] == 2


@only_onelink
async def test_cards_left_out_of_a_batch_answer_are_retryable_not_missing(
    gateways: Mapping[Carrier, CarrierGateway], simulated: Simulated, carrier: Carrier
) -> None:
    simulated.faults(carrier, partial_rate=0.4)
    asked = cards(carrier, 100)
    results = await gateways[carrier].statuses(asked)
    kinds = Counter(type(result) for result in results)
    assert [result.iccid for result in results] == asked
    assert kinds[CardFailed] > 0
    assert kinds[CardStatus] > 0
    assert kinds[CardNotFound] == 0


@only_center
async def test_a_break_between_two_cards_keeps_what_was_answered(
    gateways: Mapping[Carrier, CarrierGateway], simulated: Simulated, carrier: Carrier
) -> None:
    asked = cards(carrier, 10)
    simulated.faults(carrier, error_rate=0.75)
    results = await gateways[carrier].statuses(asked)
    assert [result.iccid for result in results] == asked
    answered = [result for result in results if isinstance(result, CardStatus)]
    assert 0 < len(answered) < len(asked)
    assert all(isinstance(result, CardFailed) and result.retryable for result in results[len(answered) :])


@only_center
async def test_the_change_listing_pages_through_every_card_once(
    gateways: Mapping[Carrier, CarrierGateway],
    carrier: Carrier,
) -> None:
    gateway = gateways[carrier]
    until = datetime.now(UTC)  # 各页问的是同一段：隔一会儿又有一张卡变更
    since, seen, number, last = until - timedelta(days=40), [], 1, False
    while not last:
        page = await gateway.changed_between(since, until, number)
        assert len(page.results) <= gateway.capabilities.page_size
        seen += [result.iccid for result in page.results]
        number, last = number + 1, page.last
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(cards(carrier, CARDS))
    assert len(seen) >= CARDS - 1


@only_center
async def test_the_change_listing_starts_at_the_given_moment(
    gateways: Mapping[Carrier, CarrierGateway], simulated: Simulated, carrier: Carrier
) -> None:
    since = simulated.world.now() - timedelta(days=1)
    page = await gateways[carrier].changed_between(since, simulated.world.now(), 1)
    moments = [
        simulated.world.population.modified_at(carrier, result.iccid, simulated.world.now()) for result in page.results
    ]
    assert moments == sorted(moments)
    assert all(moment >= since.replace(microsecond=0) - timedelta(seconds=1) for moment in moments)


@only_onelink
async def test_a_carrier_without_a_listing_says_so(
    gateways: Mapping[Carrier, CarrierGateway], carrier: Carrier
) -> None:
    assert gateways[carrier].capabilities.page_size == 0
    with pytest.raises(RejectedError):
        await gateways[carrier].changed_between(datetime.now(UTC), datetime.now(UTC), 1)


@every_carrier
async def test_a_day_that_has_not_come_is_refused(gateways: Mapping[Carrier, CarrierGateway], carrier: Carrier) -> None:
    with pytest.raises(RejectedError):
        await gateways[carrier].day_usage(cards(carrier, 1), date(2999, 1, 1))


@every_carrier
async def test_a_refused_card_fails_alone(
    gateways: Mapping[Carrier, CarrierGateway], simulated: Simulated, carrier: Carrier
) -> None:
    gateway = gateways[carrier]
    asked = cards(carrier, gateway.capabilities.max_batch)
    refused = {asked[0], asked[-2]}
    simulated.faults(carrier, refuse=refused)
    for results in (
        await gateway.statuses(asked),
        await gateway.infos(asked),
        await gateway.day_usage(asked, YESTERDAY),
    ):
        assert [result.iccid for result in results] == asked
        failed = [result for result in results if isinstance(result, CardFailed)]
        assert failed == [CardFailed(iccid, "refused", retryable=False) for iccid in asked if iccid in refused]
        assert not any(isinstance(result, CardNotFound) for result in results)


@only_onelink
async def test_finding_the_refused_card_takes_a_bisection_not_a_call_per_card(
    gateways: Mapping[Carrier, CarrierGateway], simulated: Simulated, carrier: Carrier
) -> None:
    asked = cards(carrier, 100)
    simulated.faults(carrier, refuse=[asked[41]])
    await gateways[carrier].statuses(asked)
    assert simulated.world.gates[carrier].calls["sim-status/batch"] <= 2 * 7 + 1


@only_onelink
@pytest.mark.parametrize(
    ("fault", "error", "outcome"),
    [("error_rate", TransientError, "transient"), ("rate_limit_rate", RateLimitedError, "rate_limited")],
)
async def test_a_failure_told_in_the_body_of_a_200_is_tried_again_counted_and_trips_the_breaker(
    simulated: Simulated, fault: str, error: type[CarrierError], outcome: str, carrier: Carrier
) -> None:
    seen: list[str] = []

    def observe(_carrier: Carrier, _operation: str, ended: str, _seconds: float) -> None:
        seen.append(ended)

    async with gateways_of(simulated.changed(breaker_failures=ATTEMPTS), None, observe) as gateways:
        gateway = gateways[carrier]
        await gateway.ping()
        simulated.faults(carrier, **{fault: 1.0}, in_body=True, times=1)
        assert isinstance((await gateway.statuses(cards(carrier, 1)))[0], CardStatus)
        simulated.faults(carrier, **{fault: 1.0}, in_body=True)
        with pytest.raises(error):
            await gateway.statuses(cards(carrier, 1))
        assert seen == ["ok", outcome, "ok", *[outcome] * ATTEMPTS]
        before = simulated.calls(carrier)
        with pytest.raises(error):
            await gateway.statuses(cards(carrier, 1))
        assert (simulated.calls(carrier) == before) == (error is TransientError)


@every_carrier
async def test_today_is_answered(
    gateways: Mapping[Carrier, CarrierGateway], simulated: Simulated, carrier: Carrier
) -> None:
    (answer,) = await gateways[carrier].day_usage(cards(carrier, 1), simulated.world.today())
    assert isinstance(answer, DayUsage)


@every_carrier
async def test_session_and_suspend_reason_come_with_the_state(
    simulated: Simulated, carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = simulated.world.now()
    monkeypatch.setattr(simulated.world, "now", lambda: now)  # 每一刻钟，谁在线又是一样
    part = {**simulated.config.model_dump()["control_center"], "sessions": True}
    async with gateways_of(simulated.changed(control_center=part)) as gateways:
        gateway = gateways[carrier]
        asked = cards(carrier, 100)
        batches = [asked[start : start + gateway.capabilities.max_batch] for start in range(0, 100, 10)]
        if gateway.capabilities.max_batch >= len(asked):
            batches = [asked]
        results = [result for batch in batches for result in await gateway.statuses(batch)]
    population = simulated.world.population
    for result in results:
        assert isinstance(result, CardStatus)
        online = population.online(carrier, result.iccid, now)
        assert result.session is (SessionState.ONLINE if online else SessionState.OFFLINE)
        assert (result.suspend_reason is not None) == (result.state is LifecycleState.SUSPENDED)
    assert {result.session for result in results if isinstance(result, CardStatus)} == {
        SessionState.ONLINE,
        SessionState.OFFLINE,
    }


@only_center
async def test_without_the_extra_calls_the_session_stays_unknown_to_us(simulated: Simulated, carrier: Carrier) -> None:
    async with gateways_of(simulated.config) as gateways:
        results = await gateways[carrier].statuses(cards(carrier, 3))
    assert [result.session for result in results if isinstance(result, CardStatus)] == [None] * 3
    assert simulated.world.gates[carrier].calls == {"device-details": 3}
