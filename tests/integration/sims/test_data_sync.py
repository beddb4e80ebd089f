"""data:sync 对着真的库和真的模拟器：断在任何一批都接得上，计数不重不漏，更正生效、旧的忽略。"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from kaguan.config.model import Tasks
from kaguan.database.pool import Pool
from kaguan.dev.simulator import iccid_at
from kaguan.dev.simulator.population import Override
from kaguan.outbox.work import claiming
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.fence import Fence, FencedError, Token
from kaguan.outbox.work.outcome import Discard, Outcome, Retry, Snooze
from kaguan.outbox.work.settlement import Settlement
from kaguan.queues.keys import lease_key
from kaguan.sims import sync_store
from kaguan.sims.cards import CardInfo, DayUsage
from kaguan.sims.sync_store import AppliedRows
from kaguan.sims.sync_tally import DRIFT
from kaguan.sims.tasks import DataSyncPayload, SimStatusPayload
from kaguan.sims.vocabulary import Carrier, SyncType
from tests.support.carrier_world import NO_SUCH_CARD, Simulated, gateways_of, next_delivery, register, rows, simulating
from tests.support.folded import folded
from tests.support.repository import ROOT
from tests.support.running_task import running_task
from tests.support.sync_deaths import DiesBeforeCommit, DiesBetweenBatches, result_of
from workers.pauses import LONGEST_PAUSE, PAUSE
from workers.sim.handler import SimStatusSync
from workers.sync.handler import DataSync

ONELINK, CENTER = Carrier.ONELINK, Carrier.CONTROL_CENTER
CARDS = 23
BATCH = 5
FEATURES = ROOT / "docs" / "002-sqlalchemy-postgres-saq" / "功能总结.md"
USAGE = "select iccid, day, carrier, data_bytes, sms_count, revision from tb_sim_usage order by iccid, day"


@pytest.fixture
async def simulated() -> AsyncIterator[Simulated]:
    async with simulating() as running:
        yield running


def cards(carrier: Carrier, count: int) -> list[str]:
    return [iccid_at(carrier, index) for index in range(count)]


def days_before(simulated: Simulated, days: int) -> date:
    return simulated.world.today() - timedelta(days=days)


async def submit(
    pool: Pool, sync_type: SyncType, start: date, end: date, carrier: Carrier | None = None, batch_size: int = BATCH
) -> Attempt[DataSyncPayload]:
    payload = DataSyncPayload(
        sync_type=sync_type, start_date=start, end_date=end, batch_size=batch_size, carrier=carrier
    )
    return await running_task(pool, "data:sync", payload)


async def run(simulated: Simulated, attempt: Attempt[DataSyncPayload]) -> Outcome:
    async with gateways_of(simulated.config) as gateways:
        return await DataSync(gateways)(attempt)


async def settled_and_claimed_again(attempt: Attempt[DataSyncPayload], outcome: Outcome) -> Attempt[DataSyncPayload]:
    await Settlement(attempt.pool, "test", Tasks()).settle(attempt, outcome)
    token = Token(attempt.task_id, attempt.delivery + 1, uuid4())
    async with attempt.pool.connection() as connection:
        await connection.execute("update tb_outbox set available_at = now()")
        (claim,) = await claiming.claim(connection, [(token, None)], worker="test", lease=60.0)
    assert claim is not None
    return Attempt(Fence(attempt.pool, token), claim.type, claim.attempt, claim.max_attempts, attempt.payload)


async def test_usage_of_every_card_and_day_is_stored_once(pool: Pool, simulated: Simulated) -> None:
    await register(pool, ONELINK, cards(ONELINK, CARDS))
    await register(pool, CENTER, cards(CENTER, 12))
    start, end = days_before(simulated, 4), days_before(simulated, 3)
    result = result_of(await run(simulated, await submit(pool, SyncType.USAGE, start, end)))
    assert (result["fetched"], result["inserted"], result["updated"], result["failed"]) == (70, 70, 0, 0)
    assert result["carriers"]["control_center"]["inserted"] == 24
    stored = await rows(pool, USAGE)
    assert len(stored) == 70
    for iccid, day, _, data_bytes, sms, revision in stored:
        usage = simulated.world.population.usage(iccid, day, simulated.world.today())
        assert (data_bytes, sms, revision) == (usage.kilobytes * 1024, usage.sms, usage.revision)


async def test_a_second_sync_finds_nothing_new(pool: Pool, simulated: Simulated) -> None:
    await register(pool, ONELINK, cards(ONELINK, CARDS))
    day = days_before(simulated, 3)
    await run(simulated, await submit(pool, SyncType.USAGE, day, day))
    result = result_of(await run(simulated, await submit(pool, SyncType.USAGE, day, day)))
    assert (result["inserted"], result["updated"], result["unchanged"]) == (0, 0, CARDS)


async def test_a_later_revision_wins_and_a_stale_one_is_ignored(pool: Pool, simulated: Simulated) -> None:
    await register(pool, ONELINK, cards(ONELINK, CARDS))
    day = days_before(simulated, 3)
    await run(simulated, await submit(pool, SyncType.USAGE, day, day))
    simulated.faults(ONELINK, revision_bump=3)
    corrected = result_of(await run(simulated, await submit(pool, SyncType.USAGE, day, day)))
    assert (corrected["updated"], corrected["different"]) == (CARDS, CARDS)
    assert sorted(corrected["drift"]["different"]) == sorted(cards(ONELINK, CARDS))
    after = await rows(pool, USAGE)
    simulated.faults(ONELINK, stale_rate=1.0)
    stale = result_of(await run(simulated, await submit(pool, SyncType.USAGE, day, day)))
    assert (stale["updated"], stale["unchanged"]) == (0, CARDS)
    assert await rows(pool, USAGE) == after


async def test_usage_that_grew_under_the_same_revision_is_taken_and_a_late_answer_is_not(pool: Pool) -> None:
    (one, other), day = cards(ONELINK, 2), date(2026, 1, 5)
    ((asked_at,),) = await rows(pool, "select clock_timestamp()")

    async def answered(sent: int, after: int) -> AppliedRows:
        """``after`` 分钟之后问到：头一张用量涨到 ``sent``，另一张没变。"""
        usages = [DayUsage(one, sent, 0, 1), DayUsage(other, 7, 0, 1)]
        async with pool.connection() as connection:
            moment = asked_at + timedelta(minutes=after)
            return await sync_store.upsert_usage(connection, ONELINK, day, usages, moment)

    assert (await answered(100, 0)).inserted == 2
    assert await answered(250, 10) == AppliedRows(0, 1, 1, [one])
    assert await answered(180, 5) == AppliedRows(0, 0, 2, [])  # 早些时候问的，这时才到
    assert await rows(pool, "select data_bytes from tb_sim_usage order by data_bytes") == [(7,), (250,)]


async def test_late_details_do_not_replace_newer_ones(pool: Pool) -> None:
    (one,) = cards(ONELINK, 1)
    await register(pool, ONELINK, [one])
    ((asked_at,),) = await rows(pool, "select clock_timestamp()")
    for msisdn, after, updated in (("1064700000002", 10, 1), ("1064700000001", 5, 0)):
        async with pool.connection() as connection:
            card, moment = CardInfo(one, msisdn, None, None), asked_at + timedelta(minutes=after)
            applied = await sync_store.apply_infos(connection, ONELINK, [card], moment)
        assert applied.updated == updated
    assert await rows(pool, "select msisdn from tb_sim") == [("1064700000002",)]


async def test_killed_at_any_batch_it_goes_on_where_it_stopped(pool: Pool, simulated: Simulated) -> None:
    """五批一天，两天十批，批批都死，两种死法轮着来；与一口气跑完的相比，结果逐字相同，行逐行相同。"""
    await register(pool, ONELINK, cards(ONELINK, CARDS))
    start, end = days_before(simulated, 4), days_before(simulated, 3)
    whole = result_of(await run(simulated, await submit(pool, SyncType.USAGE, start, end, ONELINK)))
    expected = await rows(pool, USAGE)
    assert (whole["inserted"], len(expected)) == (2 * CARDS, 2 * CARDS)
    for fatal, death in zip(range(1, 11), itertools.cycle((DiesBetweenBatches, DiesBeforeCommit)), strict=False):
        await rows(pool, "with forgotten as (delete from tb_sync_checkpoint) delete from tb_sim_usage returning 1")
        attempt = await submit(pool, SyncType.USAGE, start, end, ONELINK)
        doomed = death(attempt.fence, attempt.type, 1, 6, attempt.payload, fatal=fatal)
        with pytest.raises(asyncio.CancelledError):
            await run(simulated, doomed)
        assert result_of(await run(simulated, await next_delivery(attempt))) == whole, (death, fatal)
        points = await rows(pool, "select day, batches, done_at is not null from tb_sync_checkpoint order by day")
        assert points == [(start, 5, True), (end, 5, True)], (death, fatal)
        assert await rows(pool, USAGE) == expected, (death, fatal)


async def test_out_of_time_it_yields_after_each_batch_and_ends_with_the_same_result(
    pool: Pool, simulated: Simulated
) -> None:
    await register(pool, ONELINK, cards(ONELINK, CARDS))
    start, end = days_before(simulated, 4), days_before(simulated, 3)
    attempt = await submit(pool, SyncType.USAGE, start, end, ONELINK)
    for batches in range(1, 10):  # 两天十批：前九批各让位一次
        attempt.deadline = 0.0
        outcome = await run(simulated, attempt)
        assert isinstance(outcome, Snooze)
        assert await rows(pool, "select sum(batches) from tb_sync_checkpoint") == [(batches,)]
        attempt = await settled_and_claimed_again(attempt, outcome)
    assert attempt.attempt == 1
    attempt.deadline = 0.0
    result = result_of(await run(simulated, attempt))
    assert (result["batches"], result["inserted"], result["unchanged"]) == (10, 2 * CARDS, 0)


async def test_out_of_time_without_progress_it_does_not_yield(pool: Pool, simulated: Simulated) -> None:
    await register(pool, ONELINK, cards(ONELINK, CARDS))
    day = days_before(simulated, 3)
    attempt = await submit(pool, SyncType.USAGE, day, day, ONELINK)
    attempt.deadline = 0.0
    simulated.faults(ONELINK, error_rate=1.0)
    assert isinstance(await run(simulated, attempt), Retry)


async def test_a_stale_delivery_writes_nothing(pool: Pool, simulated: Simulated) -> None:
    await register(pool, ONELINK, cards(ONELINK, CARDS))
    day = days_before(simulated, 3)
    attempt = await submit(pool, SyncType.USAGE, day, day)
    await next_delivery(attempt)
    with pytest.raises(FencedError):
        await run(simulated, attempt)
    assert await rows(pool, USAGE) == []
    assert await rows(pool, "select 1 from tb_sync_checkpoint") == []


async def test_a_carrier_away_keeps_what_is_done_and_retries(pool: Pool, simulated: Simulated) -> None:
    await register(pool, ONELINK, cards(ONELINK, CARDS))
    await register(pool, CENTER, cards(CENTER, 4))
    day = days_before(simulated, 3)
    attempt = await submit(pool, SyncType.USAGE, day, day)
    simulated.faults(CENTER, error_rate=1.0)
    outcome = await run(simulated, attempt)
    assert isinstance(outcome, Retry)
    assert "control_center" in str(outcome.reason)
    assert len(await rows(pool, USAGE)) == CARDS
    simulated.faults(CENTER)
    result = result_of(await run(simulated, await next_delivery(attempt)))
    assert result["inserted"] == CARDS + 4


@dataclass(slots=True)
class MeetsAFault(Attempt[DataSyncPayload]):
    """走到第 ``fatal`` 个安全点时，``strike`` 让对方坏掉。"""

    fatal: int = 1
    strike: Callable[[], None] = lambda: None

    def checkpoint(self) -> None:
        self.fatal -= 1
        if self.fatal == 0:
            self.strike()


async def test_an_interruption_after_committed_batches_does_not_use_up_an_attempt(
    pool: Pool, simulated: Simulated
) -> None:
    await register(pool, ONELINK, cards(ONELINK, CARDS))
    day = days_before(simulated, 3)
    attempt = await submit(pool, SyncType.USAGE, day, day, ONELINK)
    strike = partial(simulated.faults, ONELINK, error_rate=1.0)
    interrupted = MeetsAFault(attempt.fence, attempt.type, 1, 6, attempt.payload, fatal=3, strike=strike)
    outcome = await run(simulated, interrupted)
    assert isinstance(outcome, Snooze)
    assert outcome.delay >= PAUSE
    again = await settled_and_claimed_again(interrupted, outcome)
    assert again.attempt == 1
    without_progress = await run(simulated, again)
    assert isinstance(without_progress, Retry)
    assert without_progress.outage
    simulated.faults(ONELINK)
    result = result_of(await run(simulated, await settled_and_claimed_again(again, without_progress)))
    assert (result["inserted"], result["batches"]) == (CARDS, 5)


@pytest.mark.parametrize(
    ("delivery", "least", "most"), [(1, PAUSE, 2 * PAUSE), (100, LONGEST_PAUSE / 2, LONGEST_PAUSE)]
)
async def test_waiting_for_our_own_limits_uses_up_no_attempt_and_grows_longer(
    pool: Pool, simulated: Simulated, redis_url: str, delivery: int, least: float, most: float
) -> None:
    await register(pool, CENTER, cards(CENTER, 2))
    day = days_before(simulated, 3)
    config = simulated.changed(time_budget=0.1)
    center = config.control_center.model_copy(update={"timeout": 600.0})  # 名额至多占这么久：占着的到期更晚就是假的
    config = config.model_copy(update={"control_center": center})
    async with Redis.from_url(redis_url) as redis:
        await redis.zadd(lease_key(CENTER), {"busy": int(time.time() * 1000) + 60_000})
        async with gateways_of(config, redis) as gateways:
            sync_attempt = await submit(pool, SyncType.USAGE, day, day, CENTER)
            payload = SimStatusPayload(iccids=tuple(cards(CENTER, 2)))
            check_attempt = await running_task(pool, "sim:status_sync", payload)
            for attempt in (sync_attempt, check_attempt):
                attempt.fence.token = attempt.token._replace(delivery=delivery)
            await rows(pool, "update tb_work set delivery = %s returning 1", delivery)
            await rows(pool, "update tb_task set delivery = %s returning 1", delivery)
            sync = await DataSync(gateways)(sync_attempt)
            check = await SimStatusSync(gateways, config)(check_attempt)
    for attempt, outcome in ((sync_attempt, sync), (check_attempt, check)):
        assert isinstance(outcome, Snooze)
        assert least <= outcome.delay <= most
        await Settlement(pool, "test", Tasks()).settle(attempt, outcome)
    assert simulated.calls(CENTER) == 0
    assert await rows(pool, "select kind, detail->>'reason' from tb_task_event order by id") == [
        ("interrupted", "control_center：并发名额已满"),
        ("interrupted", "2 张卡暂时没问成：并发名额已满"),
    ]


@pytest.mark.parametrize("attempts_used_up", [False, True])
async def test_a_failed_sync_keeps_the_report_of_what_is_done(
    pool: Pool, simulated: Simulated, *, attempts_used_up: bool
) -> None:
    await register(pool, ONELINK, [*cards(ONELINK, CARDS), NO_SUCH_CARD])
    await register(pool, CENTER, cards(CENTER, 4))
    day = days_before(simulated, 3)
    attempt = await submit(pool, SyncType.USAGE, day, day)
    if attempts_used_up:
        simulated.faults(CENTER, error_rate=1.0)
        await rows(pool, "update tb_work set attempt = 6 returning 1")
        attempt.attempt = attempt.max_attempts
        outcome = await run(simulated, attempt)
        assert isinstance(outcome, Retry)
    else:
        part = {**simulated.config.control_center.model_dump(), "api_key": "wrong"}
        async with gateways_of(simulated.changed(control_center=part)) as gateways:
            outcome = await DataSync(gateways)(attempt)
        assert isinstance(outcome, Discard)
    await Settlement(pool, "test", Tasks()).settle(attempt, outcome)
    ((status, result),) = await rows(pool, "select status, result from vw_task")
    assert (status, result["inserted"], result["carriers"]["control_center"]["fetched"]) == ("failed", CARDS, 0)
    assert result["drift"]["missing_there"] == [NO_SUCH_CARD]


async def test_details_fill_the_inventory_and_report_differences(pool: Pool, simulated: Simulated) -> None:
    mine = cards(ONELINK, CARDS)
    await register(pool, ONELINK, [*mine, NO_SUCH_CARD])
    async with pool.connection() as connection:
        await connection.execute("update tb_sim set msisdn = '1064700000000' where iccid = %s", (mine[0],))
    day = days_before(simulated, 1)
    result = result_of(await run(simulated, await submit(pool, SyncType.SIM_INFO, day, day, ONELINK)))
    assert (result["fetched"], result["updated"], result["unchanged"]) == (CARDS, CARDS, 0)
    assert result["drift"]["different"] == [mine[0]]
    assert result["drift"]["missing_there"] == [NO_SUCH_CARD]
    population = simulated.world.population
    stored = await rows(pool, "select iccid, msisdn, imsi, activated_on from tb_sim where info_synced_at is not null")
    assert sorted(stored) == sorted(
        (one, population.msisdn(ONELINK, one), population.imsi(ONELINK, one), population.activated_on(one))
        for one in mine
    )


async def test_the_change_listing_updates_states_and_shows_cards_we_lack(pool: Pool, simulated: Simulated) -> None:
    known, unknown = cards(CENTER, 2)
    simulated.world.population.cards = 0  # 列表里只有登记过的
    for iccid in (known, unknown):
        # 早于第二遍的窗口：只在第一遍里
        override = Override("DEACTIVATED", exists=True, at=simulated.world.now() - timedelta(hours=1))
        simulated.world.population.overrides[CENTER, iccid] = override
    await register(pool, CENTER, [known])
    attempt = await submit(pool, SyncType.SIM_STATUS, days_before(simulated, 1), days_before(simulated, 0), CENTER)
    result = result_of(await run(simulated, attempt))
    assert (result["fetched"], result["updated"], result["missing_here"]) == (2, 1, 1)
    assert result["drift"]["missing_here"] == [unknown]
    assert await rows(pool, "select lifecycle_state, carrier_status from tb_sim") == [("suspended", "DEACTIVATED")]
    assert await rows(pool, "select task_id, new_state from tb_sim_event") == [(attempt.task_id, "suspended")]


def documented_drift(carrier: Carrier, kind: SyncType) -> set[str]:
    """功能总结的漂移表里，这一行说会有的。"""
    (row,) = re.findall(rf"^\| `{carrier}` \| `{kind}` \| (.+) \|$", FEATURES.read_text("utf-8"), re.MULTILINE)
    _, *cells = row.split(" | ")
    return {name for name, cell in zip(DRIFT, cells, strict=True) if cell != "—"}


@folded(("carrier", "kind"), itertools.product(Carrier, SyncType))
async def test_the_drift_table_says_what_each_sync_can_find(
    pool: Pool, simulated: Simulated, carrier: Carrier, kind: SyncType
) -> None:
    await rows(pool, "with forgotten as (delete from tb_sim_usage) delete from tb_sim returning 1")
    mine, stranger = cards(carrier, 2)
    simulated.world.population.cards = 0  # 列表里只有登记过的
    state = "4" if carrier is ONELINK else "DEACTIVATED"
    for iccid in (mine, stranger):
        override = Override(state, exists=True, at=simulated.world.now() - timedelta(hours=1))
        simulated.world.population.overrides[carrier, iccid] = override
    await register(pool, carrier, [mine, NO_SUCH_CARD])
    day = days_before(simulated, 1)
    await rows(pool, "update tb_sim set msisdn = '1064700000000' returning 1")
    await rows(
        pool,
        "insert into tb_sim_usage (iccid, day, carrier, data_bytes) values (%s, %s, %s, 1) returning 1",
        mine,
        day,
        carrier,
    )
    last = day if kind is SyncType.USAGE else days_before(simulated, 0)
    result = result_of(await run(simulated, await submit(pool, kind, day, last, carrier)))
    expected = {"missing_there": [NO_SUCH_CARD], "missing_here": [stranger], "different": [mine]}
    found = documented_drift(carrier, kind)
    assert result["drift"] == {name: expected[name] if name in found else [] for name in expected}


async def test_states_of_a_carrier_without_listing_come_by_inventory(pool: Pool, simulated: Simulated) -> None:
    await register(pool, ONELINK, cards(ONELINK, CARDS))
    day = days_before(simulated, 0)
    result = result_of(await run(simulated, await submit(pool, SyncType.SIM_STATUS, day, day, ONELINK)))
    assert (result["fetched"], result["updated"]) == (CARDS, CARDS)
    assert len(await rows(pool, "select 1 from tb_sim_event")) == CARDS


async def test_bad_records_are_counted_and_do_not_stop_the_sync(pool: Pool, simulated: Simulated) -> None:
    await register(pool, ONELINK, cards(ONELINK, CARDS))
    simulated.faults(ONELINK, drift="missing_field")
    day = days_before(simulated, 3)
    result = result_of(await run(simulated, await submit(pool, SyncType.USAGE, day, day)))
    assert (result["fetched"], result["failed"], len(result["failures"])) == (0, CARDS, CARDS)


@pytest.mark.parametrize("carrier", list(Carrier))
async def test_a_refused_card_is_reported_and_the_sync_goes_on_past_it(
    pool: Pool, simulated: Simulated, carrier: Carrier
) -> None:
    mine = cards(carrier, CARDS)
    await register(pool, carrier, mine)
    simulated.faults(carrier, refuse=[mine[3]])
    day = days_before(simulated, 3)
    result = result_of(await run(simulated, await submit(pool, SyncType.USAGE, day, day, carrier)))
    assert (result["inserted"], result["failed"]) == (CARDS - 1, 1)
    assert result["failures"] == [{"iccid": mine[3], "reason": "refused"}]


async def test_a_future_day_and_a_missing_carrier_are_given_up(pool: Pool, simulated: Simulated) -> None:
    await register(pool, ONELINK, cards(ONELINK, 1))
    future = days_before(simulated, -30)
    assert isinstance(await run(simulated, await submit(pool, SyncType.USAGE, future, future, ONELINK)), Discard)
    assert isinstance(await DataSync({})(await submit(pool, SyncType.USAGE, future, future)), Discard)


async def test_progress_says_how_many_cards_and_parts(pool: Pool, simulated: Simulated) -> None:
    await register(pool, ONELINK, cards(ONELINK, CARDS))
    day = days_before(simulated, 3)
    attempt = await submit(pool, SyncType.USAGE, day, day)
    await run(simulated, attempt)
    ((progress,),) = await rows(pool, "select progress from vw_task where id = %s", attempt.task_id)
    assert progress["done"] >= BATCH
    assert progress["parts_total"] == 2
