"""心跳：真的 Redis；时刻全是 Redis 的钟，体面地走的不留名片，没告别的算得出来。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from kaguan.config import Settings
from kaguan.config import model as config
from kaguan.database.checked_pool import CheckedPool
from kaguan.database.pool import open_pool
from kaguan.database.seal import Seal, Sealing
from kaguan.presence.beat import MOST, WITNESSED, Presence
from kaguan.presence.census import take_census
from kaguan.queues.client import Client, open_redis
from kaguan.queues.keys import PRESENCE_BEATS, PRESENCE_CARDS, TIMELINE
from kaguan.sims.vocabulary import Carrier
from tests.support.eventually import PATIENCE, eventually
from tests.support.folded import folded
from tests.support.said import capture_logs

OURS = "00000001"  # 用例的库在这条时间线上


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(config.Redis(url=SecretStr(redis_url), socket_timeout=PATIENCE)) as client:
        yield client


async def backdate(redis: Redis, name: str, seconds: float) -> None:
    """就像它的最近一拍在 ``seconds`` 秒前。"""
    await redis.zincrby(PRESENCE_BEATS, -seconds * 1000, name)


async def test_a_process_is_seen_while_it_lives_and_takes_its_card_when_it_leaves(redis: Redis) -> None:
    presence = Presence(redis, "worker", facts=lambda: {"slots": {"low": 2}}, patience=PATIENCE)
    async with presence.beating():

        async def there() -> bool:
            return bool((await take_census(redis)).processes)

        await eventually(there)
        census = await take_census(redis)
        [seen] = census.of("worker")
        assert (seen.name, dict(seen.slots)) == (presence.name, {"low": 2})
        assert seen.started_at <= seen.seen_at <= census.now
        assert census.of("relay") == []
    assert (await take_census(redis)).processes == []


async def test_a_worker_that_waits_for_a_carrier_still_beats(redis: Redis) -> None:
    presence = Presence(redis, "worker", facts=lambda: {"away": {"sim:status_sync": {Carrier.ONELINK: 3}}})
    await presence.run_once()
    [seen] = (await take_census(redis)).of("worker")
    assert seen.away == {"sim:status_sync": {"onelink": 3}}


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
async def test_one_that_leaves_because_of_an_error_leaves_its_card_behind_unless_it_is_excused(
    redis: Redis, error: type[BaseException]
) -> None:
    guest, ours = (Presence(redis, "relay", excuses=excused, patience=PATIENCE) for excused in (True, False))

    async def crash(presence: Presence) -> None:
        async with presence.beating():
            await presence.run_once()
            raise error

    for presence in (guest, ours):
        with pytest.raises(error):
            await crash(presence)
    assert [process.name for process in (await take_census(redis)).processes] == [ours.name]


async def test_after_a_flush_the_next_beat_brings_it_back_as_old_as_it_was(redis: Redis) -> None:
    presence = Presence(redis, "relay")
    await presence.run_once()
    [before] = (await take_census(redis)).processes
    await redis.flushdb()
    await presence.run_once()
    [after] = (await take_census(redis)).processes
    assert after.started_at == before.started_at


async def test_one_that_went_without_a_word_is_a_death_of_its_successor(redis: Redis) -> None:
    for name in ("first", "second"):
        await Presence(redis, "relay", name).run_once()
        await backdate(redis, name, 30)
        card = orjson.loads(await redis.hget(PRESENCE_CARDS, name) or b"")  # type: ignore[misc] # redis-py 把同步与异步的标注混在一起
        seconds, _ = await redis.time()
        card["started"] = (seconds - {"first": 60, "second": 29}[name]) * 1000
        await redis.hset(PRESENCE_CARDS, name, orjson.dumps(card).decode())  # type: ignore[misc] # 同上
    await backdate(redis, "second", -10)
    await Presence(redis, "relay", "third").run_once()
    await Presence(redis, "worker", "neighbour").run_once()
    standing = {process.name: len(process.deaths) for process in (await take_census(redis)).processes}
    assert standing == {"third": 2, "neighbour": 0}


async def test_however_many_crash_the_cards_stay_few(redis: Redis) -> None:
    await redis.zadd(PRESENCE_BEATS, {f"dead-{number}": number for number in range(MOST + 50)})
    await redis.hset(PRESENCE_CARDS, mapping={f"dead-{number}": "{}" for number in range(MOST + 50)})  # type: ignore[misc] # 同上
    await Presence(redis, "relay", "alive").run_once()
    assert await redis.zcard(PRESENCE_BEATS) == await redis.hlen(PRESENCE_CARDS) == 1  # type: ignore[misc] # 同上


async def test_a_fault_in_the_facts_is_told_and_the_beat_goes_on(redis: Redis) -> None:
    answers: list[dict[str, Any]] = [{"slots": {1: object()}}]
    with capture_logs() as logs:
        presence = Presence(redis, "relay", facts=lambda: answers.pop() if answers else {}, interval=0.01)
        async with presence.beating():

            async def there() -> bool:
                return bool((await take_census(redis)).processes)

            await eventually(there)
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["心跳意外出错，下一拍再试"]


def written(seal: Seal, known: str) -> bytes:
    """别的进程写的。"""
    return seal.put(TIMELINE, known).encode()


@pytest.fixture
async def watching(settings: Settings, redis: Redis) -> AsyncIterator[tuple[CheckedPool, Presence, Seal]]:
    """一个进程，它的池连着时间线 1 上的主库。"""
    async with open_pool(settings.database, "test") as pool:
        async with pool.connection() as connection:
            seal = await Sealing().held(connection)
        yield pool, Presence(redis, "api", patience=PATIENCE), seal


def on(pool: CheckedPool, timeline: str) -> str:
    """同一个集群，另一条时间线。"""
    assert pool.met is not None
    return str(pool.met._replace(timeline=timeline))


@pytest.mark.parametrize(
    ("known", "left"),
    [(None, OURS), ("00000000", OURS), ("00000003", "00000003"), ("another cluster", OURS)],
)
async def test_the_newest_primary_that_any_process_met_is_known_to_all_for_a_while(
    redis: Redis, watching: tuple[CheckedPool, Presence, Seal], known: str | None, left: str
) -> None:
    pool, presence, seal = watching
    if known is not None:
        there = "9:00000003" if known == "another cluster" else on(pool, known)
        await redis.set(TIMELINE, written(seal, there), px=WITNESSED)
    await presence.watch(pool)
    assert (await redis.get(TIMELINE), str(pool.history)) == (written(seal, on(pool, left)), on(pool, left))
    assert 0 < await redis.pttl(TIMELINE) <= WITNESSED


async def test_a_primary_that_is_only_heard_of_is_never_passed_on_and_not_followed_for_ever(
    redis: Redis, watching: tuple[CheckedPool, Presence, Seal]
) -> None:
    """副本库被误指到同一个 Redis：有人一直写着它，而谁也连不上。"""
    pool, presence, seal = watching
    rumour = written(seal, on(pool, "00000009"))
    await redis.set(TIMELINE, rumour)
    await presence.watch(pool)
    assert str(pool.history) == on(pool, "00000009")
    assert await redis.pttl(TIMELINE) == -1  # 没有替它续期
    pool.hearsay = 0.0
    with capture_logs() as logs:
        await presence.watch(pool)
    assert str(pool.history) == on(pool, OURS)
    assert [line["key"] for line in logs if line["log_level"] == "error"] == [TIMELINE]
    await redis.delete(TIMELINE)
    await presence.watch(pool)
    assert await redis.get(TIMELINE) == written(seal, on(pool, OURS))


async def test_once_the_rumour_is_gone_a_process_goes_back_to_what_it_met(
    redis: Redis, watching: tuple[CheckedPool, Presence, Seal]
) -> None:
    pool, presence, seal = watching
    await redis.set(TIMELINE, written(seal, on(pool, "00000009")))
    await presence.watch(pool)
    await redis.delete(TIMELINE)
    pool.heard_for = 0.0
    await presence.watch(pool)
    assert str(pool.history) == on(pool, OURS)
    async with pool.connection() as connection:
        await connection.execute("select 1")


@folded(
    "lie",
    [b"%s:FFFFFFFF", b"%s:FFFFFFFF " + b"0" * 32, b"garbage", b"\xff" * 10, b"%s:99999999" + b"9" * 1_000_000, None],
)
async def test_a_primary_that_none_of_ours_wrote_is_not_followed_and_soon_replaced(
    redis: Redis, watching: tuple[CheckedPool, Presence, Seal], lie: bytes | None
) -> None:
    pool, presence, seal = watching
    await redis.delete(TIMELINE)
    if lie is None:
        await redis.hset(TIMELINE, "a", "1")  # type: ignore[misc] # redis-py 把同步与异步的标注混在一起
    else:
        await redis.set(TIMELINE, lie.replace(b"%s", str(pool.met).partition(":")[0].encode()))
    with capture_logs() as logs:
        for _ in range(2):
            await presence.watch(pool)
            assert str(pool.history) == on(pool, OURS)
    assert await redis.get(TIMELINE) == written(seal, on(pool, OURS))
    assert {line["key"] for line in logs if line["log_level"] == "warning"} <= {TIMELINE}


async def test_beats_from_the_future_and_keys_of_another_type_are_cleared_by_the_next_beat(redis: Redis) -> None:
    seconds, _ = await redis.time()
    await redis.zadd(PRESENCE_BEATS, {"future": (seconds + 3_600) * 1000, "never": float("inf")})
    await redis.hset(PRESENCE_CARDS, mapping={"future": "{}", "never": "{}"})  # type: ignore[misc] # 同上
    await Presence(redis, "relay", "alive").run_once()
    assert await redis.zrange(PRESENCE_BEATS, 0, -1) == [b"alive"]
    assert await redis.hkeys(PRESENCE_CARDS) == [b"alive"]  # type: ignore[misc] # 同上
    for key in (PRESENCE_BEATS, PRESENCE_CARDS):
        await redis.set(key, "another type")
    await Presence(redis, "relay", "alive").run_once()
    assert [process.name for process in (await take_census(redis)).processes] == ["alive"]


CARD = {"role": "worker", "host": "h", "pid": 1, "version": "0.3.0", "started": 1}


@pytest.mark.parametrize(
    ("name", "card"),
    [
        (b"evil", b"{"),
        (b"evil", b"[]"),
        (b"evil", b"[" * 100_000),
        (b"evil", orjson.dumps({key: value for key, value in CARD.items() if key != "pid"})),
        (b"evil", orjson.dumps(CARD | {"pid": [1]})),
        (b"evil", orjson.dumps(CARD | {"host": {}})),
        (b"evil", orjson.dumps(CARD | {"role": 5})),
        (b"evil", orjson.dumps(CARD | {"started": "x"})),
        (b"evil", orjson.dumps(CARD | {"started": 1e300})),
        (b"evil", orjson.dumps(CARD | {"slots": [1]})),
        (b"evil", orjson.dumps(CARD | {"unknown": "x"})),
        (b"evil", orjson.dumps(CARD | {"host": "\x1b]0;pwned\x07"})),
        (b"\xff\xfe", orjson.dumps(CARD)),
        (b"evil\x1b[2J", orjson.dumps(CARD)),
        (b"e" * 10_000, orjson.dumps(CARD)),
    ],
)
async def test_a_card_that_none_of_ours_wrote_hides_nobody_and_is_counted(
    redis: Redis, name: bytes, card: bytes
) -> None:
    await Presence(redis, "relay", "alive").run_once()
    seconds, _ = await redis.time()
    await redis.zadd(PRESENCE_BEATS, {name: seconds * 1000})
    await redis.hset(PRESENCE_CARDS, name, card)  # type: ignore[misc, arg-type] # 同上
    assert [process.name for process in (await take_census(redis)).processes] == ["alive"]
    assert isinstance(redis, Client)
    assert redis.refused[PRESENCE_CARDS] == 1
