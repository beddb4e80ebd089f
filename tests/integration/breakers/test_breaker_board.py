"""断路器的状态经 Redis 给别的进程看：谁断开着、从何时起、因为什么；写的进程没了、Redis 没了都不碍事。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from kaguan.breakers.board import TTL, BreakerBoard, BreakerKind, OpenBreaker, open_breakers
from kaguan.breakers.breaker import CLOSED, HALF_OPENED, OPENED, BreakerStatus
from kaguan.queues.client import Client
from kaguan.queues.keys import BREAKER, BREAKERS
from kaguan.words.reasons import Reason
from tests.support.eventually import PATIENCE, eventually
from tests.support.places import own_port

EARLIER = datetime(2026, 11, 25, 1, 2, 3, tzinfo=UTC)
LATER = EARLIER + timedelta(minutes=1)
HOST = "mail.example:587"


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Client.from_url(redis_url) as client:
        yield client


@asynccontextmanager
async def boards(redis: Redis) -> AsyncIterator[tuple[BreakerBoard, BreakerBoard]]:
    """两个进程；钟不走：写得多晚，与机器无关。"""
    one, other = (BreakerBoard(redis, lambda: 0.0, PATIENCE) for _ in range(2))
    async with one.publishing(), other.publishing():
        yield one, other


async def shown(redis: Redis, count: int) -> list[OpenBreaker]:
    async def enough() -> bool:
        return sum(one.processes for one in await open_breakers(redis)) == count

    await eventually(enough)
    return await open_breakers(redis)


async def test_what_is_open_in_any_process_is_seen_by_all_and_gone_once_closed(redis: Redis) -> None:
    async with boards(redis) as (one, other):
        assert await open_breakers(redis) == []
        one.changed(BreakerKind.SMTP, HOST, BreakerStatus(OPENED, LATER, Reason.of("中继拒绝登录 535")))
        other.changed(BreakerKind.SMTP, HOST, BreakerStatus(HALF_OPENED, EARLIER, Reason("mail.unreachable")))
        other.changed(
            BreakerKind.CARRIER,
            "onelink",
            BreakerStatus(HALF_OPENED, EARLIER, Reason("carriers.failed", {"status": 503})),
        )
        assert await shown(redis, 3) == [
            OpenBreaker(
                BreakerKind.CARRIER, "onelink", HALF_OPENED, EARLIER, Reason("carriers.failed", {"status": 503}), 1
            ),
            OpenBreaker(BreakerKind.SMTP, HOST, OPENED, EARLIER, Reason.of("中继拒绝登录 535"), 2),
        ]
        other.changed(BreakerKind.CARRIER, "onelink", BreakerStatus(CLOSED))
        other.changed(BreakerKind.SMTP, HOST, BreakerStatus(CLOSED))
        assert [item.kind for item in await shown(redis, 1)] == [BreakerKind.SMTP]
    assert await open_breakers(redis) == []
    assert await redis.keys() == []


async def test_a_process_that_died_is_forgotten_when_its_entry_expires(redis: Redis) -> None:
    dead = BreakerBoard(redis)
    dead.changed(BreakerKind.SMTP, HOST, BreakerStatus(OPENED, EARLIER, Reason("mail.unreachable")))
    assert await dead.run_once() == 1
    [key] = [name async for name in redis.scan_iter() if name != BREAKERS.encode()]
    assert 0 < await redis.ttl(key) <= TTL
    await redis.delete(key)  # 到期
    await redis.sadd(BREAKERS, "someone:elses")  # type: ignore[misc] # redis-py 把同步与异步的标注混在一起
    assert await open_breakers(redis) == []
    assert await redis.keys() == [BREAKERS.encode()]  # 只看看的不写
    assert await open_breakers(redis, tidy=True) == []
    assert await redis.keys() == []


async def test_while_open_the_entry_is_renewed_and_survives_a_flush_of_redis(redis: Redis) -> None:
    board = BreakerBoard(redis)
    board.changed(BreakerKind.SMTP, HOST, BreakerStatus(OPENED, EARLIER, Reason("mail.unreachable")))
    await board.run_once()
    await redis.flushdb()
    assert await board.run_once() == 1
    assert [item.name for item in await open_breakers(redis)] == [HOST]


async def test_how_long_it_has_been_like_this_is_counted_by_the_process_and_told(redis: Redis) -> None:
    moments = iter((100.0, 400.5))
    board = BreakerBoard(redis, clock=lambda: next(moments))
    board.changed(
        BreakerKind.CARRIER, "onelink", BreakerStatus(HALF_OPENED, EARLIER, Reason("carriers.failed", {"status": 503}))
    )
    await board.run_once()
    [told] = await open_breakers(redis)
    assert told.seconds == 300


async def test_without_redis_nothing_breaks_and_what_was_missed_is_made_good(redis: Redis) -> None:
    async with Redis(host="127.0.0.1", port=own_port(), retry=Retry(NoBackoff(), 0)) as away:
        board = BreakerBoard(redis)
        board.changed(BreakerKind.SMTP, HOST, BreakerStatus(OPENED, EARLIER, Reason("mail.unreachable")))
        assert await board.run_once() == 1
        board.redis = away
        board.changed(BreakerKind.SMTP, HOST, BreakerStatus(CLOSED))
        assert await board.run_once() == 0
        board.redis = redis
        assert await board.run_once() == 1
        assert await open_breakers(redis) == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"garbage",
        b"[]",
        b"\xff",
        b'["carrier","onelink","opened","2026-01-01T00:00:00","x",1]',
        b'["nosuch","o","opened","2026-01-01T00:00:00Z","x",1]',
        b'["carrier","\\u001b[2J","opened","2026-01-01T00:00:00Z","x",1]',
        b'["carrier","onelink","opened","2026-01-01T00:00:00Z","x",-1]',
        b"[" * 100_000,
    ],
    ids=["text", "empty", "not text", "no zone", "unknown kind", "control characters", "negative", "deep"],
)
async def test_a_breaker_that_none_of_ours_wrote_hides_no_other_and_is_counted(redis: Redis, garbage: bytes) -> None:
    async with boards(redis) as (board, _):
        board.changed(BreakerKind.SMTP, HOST, BreakerStatus(OPENED, LATER, Reason.of("535")))
        await shown(redis, 1)
        evil, other = (BREAKER.format("carrier", name, "x") for name in ("evil", "of another type"))
        await redis.sadd(BREAKERS, evil, other)  # type: ignore[misc] # redis-py 把同步与异步的标注混在一起
        await redis.set(evil, garbage)
        await redis.lpush(other, "x")  # type: ignore[misc] # 同上
        assert [item.name for item in await open_breakers(redis)] == [HOST]
    assert isinstance(redis, Client)
    assert redis.refused[BREAKER] > 0
