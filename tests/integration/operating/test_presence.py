"""心跳：真的 Redis；时刻全是 Redis 的钟，体面地走的不留名片，没告别的算得出来。"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
import structlog

from kaguan.database.checked_pool import CheckedPool
from kaguan.database.connecting import History
from kaguan.presence.beat import MOST, Presence
from kaguan.presence.census import take_census
from kaguan.queues.client import open_redis
from kaguan.queues.keys import PRESENCE_BEATS, PRESENCE_CARDS, TIMELINE
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

    from kaguan.config import Settings


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    async with open_redis(settings.redis) as client:
        yield client


async def backdate(redis: Redis, name: str, seconds: float) -> None:
    """就像它的最近一拍在 ``seconds`` 秒前。"""
    await redis.zincrby(PRESENCE_BEATS, -seconds * 1000, name)


async def test_a_process_is_seen_while_it_lives_and_takes_its_card_when_it_leaves(redis: Redis) -> None:
    presence = Presence(redis, "worker", facts=lambda: {"slots": {"low": 2}})
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


async def test_one_that_leaves_because_of_an_error_leaves_its_card_behind(redis: Redis) -> None:
    presence = Presence(redis, "relay")

    async def crash() -> None:
        async with presence.beating():
            await presence.run_once()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await crash()
    assert [process.name for process in (await take_census(redis)).processes] == [presence.name]


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
    with structlog.testing.capture_logs() as logs:
        presence = Presence(redis, "relay", facts=lambda: answers.pop() if answers else {}, interval=0.01)
        async with presence.beating():

            async def there() -> bool:
                return bool((await take_census(redis)).processes)

            await eventually(there)
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["心跳意外出错，下一拍再试"]


@pytest.mark.parametrize(
    ("known", "ours", "left"),
    [
        (None, "7:00000002", "7:00000002"),
        ("7:00000001", "7:00000002", "7:00000002"),
        ("7:00000003", "7:00000002", "7:00000003"),
        ("9:00000003", "7:00000002", "7:00000002"),  # 另建的库
        ("garbage", "7:00000002", "7:00000002"),
        ("7:00000003", "", "7:00000003"),
    ],
)
async def test_the_newest_primary_that_any_process_met_is_known_to_all(
    redis: Redis, known: str | None, ours: str, left: str
) -> None:
    pool = CheckedPool("", check_idle=1.0, open=False)
    pool.history = History.read(ours.encode())
    if known is not None:
        await redis.set(TIMELINE, known)
    await Presence(redis, "api").watch(pool)
    assert (await redis.get(TIMELINE), str(pool.history)) == (left.encode(), left)
    await pool.close()


async def test_a_primary_noted_by_a_stranger_is_noted_anew(redis: Redis) -> None:
    pool = CheckedPool("", check_idle=1.0, open=False)
    pool.history = History("7", "00000002")
    await redis.hset(TIMELINE, "a", "1")  # type: ignore[misc] # redis-py 把同步与异步的标注混在一起
    await Presence(redis, "api").watch(pool)
    assert await redis.get(TIMELINE) == b"7:00000002"
