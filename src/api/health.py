"""健康检查（T069–T076）：活着吗、能接请求吗、每个部件怎样。不用认证。"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import psycopg
from psycopg_pool import PoolTimeout
from redis.exceptions import RedisError

from api import examples
from api.call import Answer, Call
from api.endpoint import Endpoint, endpoint
from api.shapes import View
from api.unit_of_work import Mode
from kaguan.errors import Code, DomainError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from api.keys import Services

TAG = "健康"
PING_TIMEOUT = 1.0  # 秒，每个部件
RETRY_AFTER = 2  # 秒


class PartView(View):
    """一个部件：``ok`` 或 ``down``；``latency_ms`` 是这次探测的耗时。"""

    status: Literal["ok", "down"]
    latency_ms: float


class HealthView(View):
    """``ok`` 全好；``degraded`` Redis 不在（照常受理，任务在 PostgreSQL 里等）；``unavailable`` 数据库不在。"""

    status: Literal["ok", "degraded", "unavailable"]
    parts: dict[str, PartView]


class AliveView(View):
    status: Literal["ok"]


@dataclass(frozen=True, slots=True)
class Probe:
    """一次探测的结果。"""

    up: bool
    latency: float

    def view(self) -> dict[str, Any]:
        return {"status": "ok" if self.up else "down", "latency_ms": round(self.latency * 1000, 1)}


async def health(call: Call[Any, Any]) -> Answer:
    database, redis = await asyncio.gather(probe(_ping_database(call.services)), probe(_ping_redis(call.services)))
    parts = {"database": database.view(), "redis": redis.view()}
    if not database.up:
        raise DomainError(
            Code.DATABASE_UNAVAILABLE, retry_after=RETRY_AFTER, data={"status": "unavailable", "parts": parts}
        )
    if not redis.up:
        raise DomainError(
            Code.OVERLOADED, "降级：Redis 不可用，照常受理，任务稍后执行", "degraded: Redis is away, work is accepted",
            retry_after=RETRY_AFTER, data={"status": "degraded", "parts": parts},
        )  # fmt: skip
    return Answer({"status": "ok", "parts": parts})


async def live(_call: Call[Any, Any]) -> Answer:
    return Answer({"status": "ok"})


async def ready(call: Call[Any, Any]) -> Answer:
    database = await probe(_ping_database(call.services))
    if not database.up:
        raise DomainError(Code.DATABASE_UNAVAILABLE, retry_after=RETRY_AFTER)
    return Answer({"status": "ok"})


async def probe(ping: Awaitable[object]) -> Probe:
    """在时限之内探一次；到时就走，不等被取消的探测收尾（断了的网络上它会拖）。"""
    started = time.perf_counter()
    task = asyncio.ensure_future(ping)
    await asyncio.wait({task}, timeout=PING_TIMEOUT)
    elapsed = time.perf_counter() - started
    if not task.done():
        task.cancel()
        return Probe(up=False, latency=elapsed)
    failure = task.exception()
    if failure is not None and not isinstance(failure, psycopg.Error | PoolTimeout | RedisError | OSError):
        raise failure
    return Probe(up=failure is None, latency=elapsed)


async def _ping_database(services: Services) -> None:
    async with services.pool.connection(timeout=PING_TIMEOUT) as connection:
        await connection.execute("select 1")


async def _ping_redis(services: Services) -> None:
    await services.redis.ping()  # type: ignore[misc] # redis-py 把同步与异步的标注混在一起


def _routes(prefix: str) -> tuple[Endpoint, ...]:
    """同样三条，在根路径与 ``/api/v1`` 下都有。"""
    down = (Code.DATABASE_UNAVAILABLE,)
    open_to_all: dict[str, Any] = {"scope": None, "tag": TAG, "mode": Mode.DIRECT}
    return (
        endpoint("GET", f"{prefix}/health", summary="各部件的健康状况", data=HealthView, example=examples.HEALTH,
                 errors=(*down, Code.OVERLOADED), **open_to_all)(health),
        endpoint("GET", f"{prefix}/health/live", summary="进程是否活着", data=AliveView, example=examples.ALIVE,
                 **open_to_all)(live),
        endpoint("GET", f"{prefix}/health/ready", summary="能否接请求", data=AliveView, errors=down,
                 example=examples.ALIVE, **open_to_all)(ready),
    )  # fmt: skip


ROUTES: tuple[Endpoint, ...] = (*_routes(""), *_routes("/api/v1"))
PATHS = frozenset(route.path for route in ROUTES)
