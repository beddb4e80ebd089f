"""判断：看、判、记。控制台、/health、``kaguan doctor`` 都只从这里问，说的因此是同一件事。"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from redis.asyncio import Redis

from kaguan.config import Settings
from kaguan.database.pool import Connection
from kaguan.verdict.judging import judge
from kaguan.verdict.memory import remember
from kaguan.verdict.model import Verdict
from kaguan.verdict.observation import Observation, observe


async def take(
    connect: Callable[[], AbstractAsyncContextManager[Connection]], redis: Redis, settings: Settings
) -> tuple[Observation, Verdict]:
    """此刻的所见与判断；依赖不在不抛异常，而是判断里的一件事。"""
    seen = await observe(connect, redis)
    concerns = judge(seen, window=min(settings.relay.window, settings.relay.high_water))
    if not settings.database.schema_name:  # 别的应用的库里没有记这个的表
        concerns = await remember(connect, seen.at, concerns)
    return seen, Verdict(seen.at, concerns, blind=seen.ledger is None and not seen.locks)
