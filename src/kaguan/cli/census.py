"""命令看得见的名片。"""

from __future__ import annotations

from kaguan.config import Settings
from kaguan.presence.census import Census
from kaguan.queues.client import open_redis
from kaguan.verdict.observation import census_in_time


async def seen_from_here(settings: Settings) -> Census | None:
    """没有配 Redis、Redis 不答就是 None。"""
    if not settings.redis.url.get_secret_value():
        return None
    async with open_redis(settings.redis, namespace=settings.database.namespace) as redis:
        return await census_in_time(redis)
