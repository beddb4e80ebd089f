"""各进程见过的主库，抄在 Redis 里。另成一个模块：地址里有几台主机的才问，别的命令不必导入 Redis 的客户端。"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import psycopg
from redis.exceptions import RedisError

from kaguan.config import Settings
from kaguan.database import connecting
from kaguan.database.connecting import Connection
from kaguan.database.seal import Sealing
from kaguan.queues.client import open_redis
from kaguan.queues.keys import TIMELINE, key

REDIS_TIMEOUT = 1.5  # 秒


async def newest(settings: Settings, connection: Connection) -> connecting.History | None:
    """各进程见过的最新的主库；没有给 Redis 的地址、它不在，就不知道；盖的印不对的不算。"""
    if not settings.redis.url.get_secret_value():
        return None
    with suppress(RedisError, OSError, TimeoutError, LookupError, psycopg.Error):
        async with (
            asyncio.timeout(REDIS_TIMEOUT),
            open_redis(settings.redis, namespace=settings.database.namespace) as redis,
        ):
            seal = await Sealing().held(connection)
            return connecting.History.read(seal.read(TIMELINE, await redis.get(key(redis, TIMELINE))))
    return None
