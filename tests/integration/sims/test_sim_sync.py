"""sim:status_sync 对着真的库和真的模拟器：逐卡出结果，重复执行只生效一次，旧令牌写不进。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kaguan.carriers.states import ONELINK_STOP_REASON
from kaguan.database.pool import Pool
from kaguan.dev.simulator import iccid_at
from kaguan.dev.simulator.population import Override
from kaguan.outbox.work.attempt import Attempt, CancelledByUserError
from kaguan.outbox.work.fence import FencedError
from kaguan.outbox.work.outcome import Discard, Outcome, Retry, Snooze
from kaguan.sims.tasks import SimStatusPayload
from kaguan.sims.vocabulary import Carrier
from tests.support.carrier_world import NO_SUCH_CARD, Simulated, gateways_of, next_delivery, register, rows, simulating
from tests.support.running_task import running_task
from tests.support.sync_deaths import DiesBeforeCommit, result_of
from workers.pauses import PAUSE
from workers.sim.handler import SimStatusSync
from workers.statuses import StatusRecorder

ONELINK, CENTER = Carrier.ONELINK, Carrier.CONTROL_CENTER
STRANGER = iccid_at(ONELINK, 999)


@pytest.fixture
async def simulated() -> AsyncIterator[Simulated]:
    async with simulating() as running:
        yield running


def cards(carrier: Carrier, count: int) -> list[str]:
    return [iccid_at(carrier, index) for index in range(count)]


async def submit(pool: Pool, iccids: list[str], *, force: bool = False) -> Attempt[SimStatusPayload]:
    return await running_task(pool, "sim:status_sync", SimStatusPayload(iccids=tuple(iccids), force_sync=force))


async def run(simulated: Simulated, attempt: Attempt[SimStatusPayload], **knobs: object) -> Outcome:
    config = simulated.changed(**knobs)
    async with gateways_of(config) as gateways:
        return await SimStatusSync(gateways, config)(attempt)


async def events(pool: Pool) -> list[tuple[Any, ...]]:
    return await rows(pool, "select iccid, old_state, new_state, source, task_id from tb_sim_event order by iccid")


async def test_each_card_ends_with_its_own_result(pool: Pool, simulated: Simulated) -> None:
    mine = cards(ONELINK, 150) + cards(CENTER, 25)
    await register(pool, ONELINK, [*cards(ONELINK, 150), NO_SUCH_CARD])
    await register(pool, CENTER, cards(CENTER, 25))
    attempt = await submit(pool, [*mine, NO_SUCH_CARD, STRANGER])
    result = result_of(await run(simulated, attempt))
    assert (result["total"], result["synced"], result["changed"]) == (177, 175, 175)
    assert (result["not_found_iccids"], result["not_registered_iccids"]) == ([NO_SUCH_CARD], [STRANGER])
    assert (result["failed"], result["skipped_fresh"], len(result["changes"])) == (0, 0, 100)
    stored = await rows(
        pool,
        "select iccid, carrier, carrier_status, status_source, status_changed_at = status_synced_at from tb_sim"
        " where status_synced_at is not null",
    )
    population, now = simulated.world.population, simulated.world.now()
    assert {row[0]: row[2] for row in stored} == {
        iccid: population.state(Carrier(carrier), iccid, now) for iccid, carrier, *_ in stored
    }
    assert all(row[1] == row[3] and row[4] for row in stored)
    written = await events(pool)
    assert len(written) == 175
    assert {row[4] for row in written} == {attempt.task_id}


async def test_fresh_cards_are_skipped_unless_forced(pool: Pool, simulated: Simulated) -> None:
    mine = cards(ONELINK, 3)
    await register(pool, ONELINK, mine)
    await run(simulated, await submit(pool, mine))
    asked = simulated.calls(ONELINK)
    assert result_of(await run(simulated, await submit(pool, mine)))["skipped_fresh"] == 3
    assert simulated.calls(ONELINK) == asked
    forced = result_of(await run(simulated, await submit(pool, mine, force=True)))
    assert (forced["synced"], forced["unchanged"], forced["changed"]) == (3, 3, 0)
    assert len(await events(pool)) == 3


async def test_running_the_same_task_again_changes_nothing(pool: Pool, simulated: Simulated) -> None:
    mine = cards(ONELINK, 5)
    await register(pool, ONELINK, mine)
    attempt = await submit(pool, mine, force=True)
    first = result_of(await run(simulated, attempt))
    before = await rows(pool, "select * from tb_sim order by id")
    again = result_of(await run(simulated, await next_delivery(attempt)))
    assert again == first
    assert await rows(pool, "select * from tb_sim order by id") == before
    assert len(await events(pool)) == 5


async def test_a_forced_task_asks_though_another_asked_after_it_was_accepted(pool: Pool, simulated: Simulated) -> None:
    mine = cards(ONELINK, 4) + cards(CENTER, 2)
    await register(pool, ONELINK, mine[:4])
    await register(pool, CENTER, mine[4:])
    forced, lazy = await submit(pool, mine, force=True), await submit(pool, mine)
    await run(simulated, await submit(pool, mine))
    result = result_of(await run(simulated, forced))
    assert (result["synced"], result["skipped_fresh"]) == (6, 0)
    assert result_of(await run(simulated, lazy))["skipped_fresh"] == 6


@pytest.mark.parametrize("age", ["0", "7 days"])
async def test_a_person_who_retries_a_task_has_every_card_asked_again(
    pool: Pool, simulated: Simulated, age: str
) -> None:
    mine = cards(ONELINK, 3)
    await register(pool, ONELINK, mine)
    attempt = await submit(pool, mine, force=True)
    first = result_of(await run(simulated, attempt))
    await rows(
        pool,
        "with aged as (update tb_sim set status_synced_at = status_synced_at - %s::interval)"
        " update tb_sync_checkpoint set day = day - %s::interval,"
        " cursor = (cursor::timestamptz - %s::interval)::text returning 1",
        *[age] * 3,
    )
    await rows(
        pool,
        "insert into tb_task_event (task_id, kind, attempt, delivery) values (%s, 'retried', 0, 2) returning 1",
        attempt.task_id,
    )
    retried = await next_delivery(attempt)
    asked = simulated.calls(ONELINK)
    again = result_of(await run(simulated, retried))
    assert simulated.calls(ONELINK) > asked
    assert (again["synced"], again["unchanged"], again["skipped_fresh"]) == (3, 3, 0)
    asked = simulated.calls(ONELINK)
    assert result_of(await run(simulated, await next_delivery(retried))) == again  # 同一轮里断了再来：不再问
    assert simulated.calls(ONELINK) == asked
    assert first["synced"] == 3


async def test_a_state_change_is_an_event_and_a_new_version(pool: Pool, simulated: Simulated) -> None:
    (iccid,) = cards(CENTER, 1)
    await register(pool, CENTER, [iccid])
    await run(simulated, await submit(pool, [iccid]))
    simulated.faults(CENTER, unknown_rate=1.0)
    result = result_of(await run(simulated, await submit(pool, [iccid], force=True)))
    assert result["unknown_codes"] == 1
    assert (await rows(pool, "select lifecycle_state, carrier_status, version from tb_sim")) == [
        ("unknown", "QUANTUM_READY", 3)
    ]
    assert len(await events(pool)) == 2


async def test_cards_that_failed_for_now_are_retried_and_the_rest_remain(pool: Pool, simulated: Simulated) -> None:
    mine = cards(ONELINK, 200)
    await register(pool, ONELINK, mine)
    attempt = await submit(pool, mine)
    async with gateways_of(simulated.config) as gateways:
        await gateways[ONELINK].ping()
        simulated.faults(ONELINK, error_rate=1.0, times=3)
        outcome = await SimStatusSync(gateways, simulated.config)(attempt)
    assert isinstance(outcome, Snooze)  # 另外一百张做成了：不耗尝试
    assert str(outcome.reason).startswith("100 张卡")
    assert outcome.delay >= PAUSE
    assert len(await events(pool)) == 100
    asked = simulated.world.gates[ONELINK].calls["sim-status/batch"]
    result = result_of(await run(simulated, await next_delivery(attempt)))
    assert (result["synced"], result["changed"], result["failed"]) == (200, 200, 0)
    assert simulated.world.gates[ONELINK].calls["sim-status/batch"] == asked + 1


async def test_out_of_time_it_yields_after_each_batch_and_ends_with_the_same_result(
    pool: Pool, simulated: Simulated
) -> None:
    mine = cards(CENTER, 25)
    await register(pool, CENTER, mine)
    whole = result_of(await run(simulated, await submit(pool, mine)))
    await rows(pool, "delete from tb_sim_event returning 1")
    await rows(pool, "delete from tb_sim returning 1")
    await register(pool, CENTER, mine)
    attempt = await submit(pool, mine)
    for asked in (10, 20):  # 十张一批：前两批各让位一次
        attempt.deadline = 0.0
        outcome = await run(simulated, attempt)
        assert isinstance(outcome, Snooze)
        assert len(await events(pool)) == asked
        attempt = await next_delivery(attempt)
    attempt.deadline = 0.0
    assert result_of(await run(simulated, attempt)) == whole


async def test_out_of_time_without_progress_it_does_not_yield(pool: Pool, simulated: Simulated) -> None:
    mine = cards(CENTER, 25)
    await register(pool, CENTER, mine)
    attempt = await submit(pool, mine)
    attempt.deadline = 0.0
    simulated.faults(CENTER, error_rate=1.0)
    outcome = await run(simulated, attempt)
    assert isinstance(outcome, Retry)
    assert outcome.outage


async def test_why_a_whole_batch_was_not_answered_is_told(pool: Pool, simulated: Simulated) -> None:
    await register(pool, ONELINK, cards(ONELINK, 3))
    simulated.faults(ONELINK, partial_rate=1.0)
    outcome = await run(simulated, await submit(pool, cards(ONELINK, 3)))
    assert isinstance(outcome, Retry)
    assert "整批都没问成：应答里没有这张卡" in str(outcome.reason)


async def test_while_the_breaker_is_open_nobody_is_asked_and_no_attempt_is_used_up(
    pool: Pool, simulated: Simulated
) -> None:
    await register(pool, ONELINK, cards(ONELINK, 1))
    simulated.faults(ONELINK, error_rate=1)
    config = simulated.changed(breaker_failures=1, breaker_cooldown=60.0)
    async with gateways_of(config) as gateways:
        handler = SimStatusSync(gateways, config)
        assert isinstance(await handler(await submit(pool, cards(ONELINK, 1))), Retry)
        asked = simulated.calls(ONELINK)
        outcome = await handler(await submit(pool, cards(ONELINK, 1)))
    assert isinstance(outcome, Snooze)
    assert outcome.delay is not None
    assert outcome.delay >= PAUSE
    assert simulated.calls(ONELINK) == asked


async def test_cards_left_out_of_an_answer_are_asked_again_at_once(pool: Pool, simulated: Simulated) -> None:
    mine = cards(ONELINK, 40)
    await register(pool, ONELINK, mine)
    simulated.faults(ONELINK, partial_rate=0.1)
    assert result_of(await run(simulated, await submit(pool, mine)))["synced"] == 40


async def test_the_wait_a_carrier_asks_for_delays_the_retry(pool: Pool, simulated: Simulated) -> None:
    mine = cards(CENTER, 2)
    await register(pool, CENTER, mine)
    simulated.faults(CENTER, rate_limit_rate=1.0, retry_after=90)
    outcome = await run(simulated, await submit(pool, mine))
    assert isinstance(outcome, Retry)
    assert outcome.delay == 90


async def test_a_carrier_that_refuses_everything_ends_the_task(pool: Pool, simulated: Simulated) -> None:
    mine = cards(CENTER, 2)
    await register(pool, CENTER, mine)
    part = {**simulated.config.control_center.model_dump(), "api_key": "wrong"}
    assert isinstance(await run(simulated, await submit(pool, mine), control_center=part), Discard)


async def test_one_carrier_not_configured_does_not_stop_the_other(pool: Pool, simulated: Simulated) -> None:
    await register(pool, ONELINK, cards(ONELINK, 2))
    await register(pool, CENTER, cards(CENTER, 2))
    attempt = await submit(pool, cards(ONELINK, 2) + cards(CENTER, 2))
    result = result_of(await run(simulated, attempt, control_center={"base_url": ""}))
    assert (result["synced"], result["failed"]) == (2, 2)


async def test_a_stale_delivery_writes_nothing(pool: Pool, simulated: Simulated) -> None:
    mine = cards(ONELINK, 3)
    await register(pool, ONELINK, mine)
    attempt = await submit(pool, mine)
    await next_delivery(attempt)
    with pytest.raises(FencedError):
        await run(simulated, attempt)
    assert await events(pool) == []
    assert await rows(pool, "select 1 from tb_sim where status_synced_at is not null") == []
    assert await rows(pool, "select 1 from tb_sync_checkpoint") == []


async def test_cancel_stops_before_the_next_batch(pool: Pool, simulated: Simulated) -> None:
    mine = cards(ONELINK, 3)
    await register(pool, ONELINK, mine)
    attempt = await submit(pool, mine)
    attempt.cancel_requested.set()
    with pytest.raises(CancelledByUserError):
        await run(simulated, attempt)
    assert await events(pool) == []


async def sim_of(pool: Pool, iccid: str) -> tuple[Any, ...]:
    query = "select lifecycle_state, session_state, suspend_reason, version from tb_sim where iccid = %s"
    return (await rows(pool, query, iccid))[0]


async def test_session_and_suspend_reason_follow_the_carrier(
    pool: Pool, simulated: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """运营商那里的钟不走：在不在线按时段变，同步与核对要在同一段里。"""
    now = simulated.world.now()
    monkeypatch.setattr(simulated.world, "now", lambda: now)
    (mine,) = cards(ONELINK, 1)
    await register(pool, ONELINK, [mine])
    overrides = simulated.world.population.overrides
    overrides[ONELINK, mine] = Override("4", exists=True, at=simulated.world.now())
    await run(simulated, await submit(pool, [mine], force=True))
    reason = ONELINK_STOP_REASON[simulated.world.population.stop_reason(mine)]
    assert await sim_of(pool, mine) == ("suspended", "offline", reason, 2)
    overrides[ONELINK, mine] = Override("2", exists=True, at=simulated.world.now())
    await run(simulated, await submit(pool, [mine], force=True))
    state, session, reason_now, version = await sim_of(pool, mine)
    online = simulated.world.population.online(ONELINK, mine, simulated.world.now())
    assert (state, session, reason_now, version) == ("active", "online" if online else "offline", None, 3)


async def test_a_session_nobody_told_us_about_is_left_alone(pool: Pool, simulated: Simulated) -> None:
    (mine,) = cards(CENTER, 1)
    await register(pool, CENTER, [mine])
    await rows(pool, "update tb_sim set session_state = 'online' returning 1")
    await run(simulated, await submit(pool, [mine]))
    assert (await sim_of(pool, mine))[1] == "online"


async def test_codes_nobody_knows_are_counted_by_carrier_once_they_are_written(
    pool: Pool, simulated: Simulated
) -> None:
    mine = cards(ONELINK, 7)
    await register(pool, ONELINK, mine)
    simulated.faults(ONELINK, unknown_rate=1.0)
    counted: list[tuple[str, int]] = []

    def count(carrier: Carrier, codes: int) -> None:
        counted.append((carrier, codes))

    async with gateways_of(simulated.config) as gateways:
        handler = SimStatusSync(gateways, simulated.config, StatusRecorder(count_unknown=count))
        attempt = await submit(pool, mine)
        doomed = DiesBeforeCommit(attempt.fence, attempt.type, 1, 6, attempt.payload, fatal=1)
        with pytest.raises(asyncio.CancelledError):
            await handler(doomed)
        assert counted == []  # 没写成的不数
        result = result_of(await handler(await next_delivery(attempt)))
    assert (result["unknown_codes"], counted) == (14, [("onelink", 14)])  # 状态与在线与否各一个
    assert await rows(pool, "select distinct lifecycle_state, carrier_status from tb_sim") == [("unknown", "99")]
