"""判断：看、判、记得刚才。控制台、/health、``kaguan doctor`` 都只从这里问，说的因此是同一件事。"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import psycopg
from psycopg_pool import PoolTimeout
from redis.asyncio import Redis

from kaguan.config import Settings
from kaguan.database.pool import Connection
from kaguan.verdict.acknowledging import acknowledged, folded
from kaguan.verdict.judging import judge
from kaguan.verdict.memory import recalled
from kaguan.verdict.model import Concern, Verdict
from kaguan.verdict.observation import Observation, observe
from kaguan.verdict.patience import SHIPPED, Patience
from kaguan.words.log import get_logger

log = get_logger(__name__)


async def look(
    connect: Callable[[], AbstractAsyncContextManager[Connection]],
    redis: Redis,
    settings: Settings,
    patience: Patience = SHIPPED,
) -> tuple[Observation, list[Concern]]:
    """此刻的所见与结论，不凭记忆；依赖不在不抛异常，而是其中的一件。"""
    seen = await observe(connect, redis, patience)
    return seen, judge(seen, window=min(settings.relay.window, settings.relay.high_water))


async def take(
    connect: Callable[[], AbstractAsyncContextManager[Connection]],
    redis: Redis,
    settings: Settings,
    patience: Patience = SHIPPED,
) -> tuple[Observation, Verdict]:
    """此刻的所见与判断，刚才还在的也算。"""
    seen, concerns = await look(connect, redis, settings, patience)
    if not settings.database.schema_name:  # 别的应用的库里没有记这个的表
        try:
            async with asyncio.timeout(patience.memory), connect() as connection:
                concerns = await recalled(connection, seen.at, concerns)
                concerns = folded(concerns, await acknowledged(connection))
        except (psycopg.Error, PoolTimeout, TimeoutError) as error:
            log.debug("判断的记忆不在", error=type(error).__name__)
    return seen, Verdict(seen.at, concerns, blind=seen.ledger is None and not seen.locks)
