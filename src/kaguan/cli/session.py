"""命令用的连接：一条，用完即关。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import psycopg
from redis.exceptions import RedisError

from kaguan.cli.failure import CommandError
from kaguan.cli.wording import say
from kaguan.config import Settings, load_settings
from kaguan.database import connecting
from kaguan.database.pool import Connection
from kaguan.database.seal import Sealing
from kaguan.product.exit_codes import ExitCode
from kaguan.queues.client import open_redis
from kaguan.queues.keys import TIMELINE

T = TypeVar("T")

REDIS_TIMEOUT = 1.5  # 秒


def database_url(settings: Settings) -> str:
    """数据库的地址。

    Raises:
        CommandError: 没有配置数据库。
    """
    url = settings.database.url.get_secret_value()
    if not url:
        raise CommandError(say("no_database"), ExitCode.USAGE)
    return url


@asynccontextmanager
async def open_connection(settings: Settings) -> AsyncIterator[Connection]:
    """自动提交的一条连接，时限与各进程相同。

    Raises:
        CommandError: 没有配置数据库，或连上的是切换之前的主库。
    """
    url = database_url(settings)
    async with await connecting.open_connection(settings.database, "cli") as connection:
        newest = await _newest(settings, connection) if connecting.has_several_hosts(url) else None
        if connecting.is_former(connection.history, newest):
            raise CommandError(say("former_primary"), ExitCode.DEPENDENCY)
        yield connection


async def _newest(settings: Settings, connection: Connection) -> connecting.History | None:
    """各进程见过的最新的主库；没有给 Redis 的地址、它不在，就不知道；盖的印不对的不算。"""
    if not settings.redis.url.get_secret_value():
        return None
    with suppress(RedisError, OSError, TimeoutError, LookupError, psycopg.Error):
        async with asyncio.timeout(REDIS_TIMEOUT), open_redis(settings.redis) as redis:
            seal = await Sealing().held(connection)
            return connecting.History.read(seal.read(TIMELINE, await redis.get(TIMELINE)))
    return None


def with_database(work: Callable[[Connection], Awaitable[T]], *, atomic: bool = True) -> T:
    """连上数据库做一件事。``atomic`` 时整件事一个事务，做不成就什么也没发生；否则逐条提交。"""
    settings = load_settings()

    async def run() -> T:
        async with open_connection(settings) as connection:
            if not atomic:
                return await work(connection)
            async with connection.transaction():
                return await work(connection)

    return asyncio.run(run())
