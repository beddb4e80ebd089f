"""探测部件：并发的共用一次，结果用上片刻——多少个不认证的调用，一个部件每秒也只被探一次。"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from aiohttp import web
from redis.exceptions import RedisError

from api.http.keys import Services
from kaguan.flow.background import within
from kaguan.verdict.patience import SHIPPED

# 健康检查的路径，在根路径与 ``/api/v1`` 下都有；问「活着吗」的不去问别的服务器
PROBING = frozenset(f"{prefix}/health{part}" for prefix in ("", "/api/v1") for part in ("", "/ready"))
PATHS = PROBING | {"/health/live", "/api/v1/health/live"}
FRESH = 1.0  # 秒：从开始探算起，结果用这么久
READING = frozenset({"GET", "HEAD", "OPTIONS"})
SEVERAL, LATELY = 3, 30.0  # 个、秒


@dataclass(frozen=True, slots=True)
class Probe:
    """一次探测的结果；``latency`` 是秒。"""

    up: bool
    latency: float

    def view(self) -> dict[str, Any]:
        return {"status": "ok" if self.up else "down", "latency_ms": round(self.latency * 1000, 1)}


async def probe(ping: Awaitable[object], seconds: float) -> Probe:
    """在时限之内探一次。

    Raises:
        Exception: ``ping`` 抛了连不上之外的。
    """
    started = time.perf_counter()
    pinged = await within(seconds, ping)
    elapsed = time.perf_counter() - started
    failure = None if pinged is None else pinged.exception()
    if failure is not None and not isinstance(failure, psycopg.Error | RedisError | OSError):
        raise failure
    return Probe(up=pinged is not None and failure is None, latency=elapsed)


class SharedProbe:
    """一个部件的探测。结果从开始探算起用 ``fresh`` 秒，按 ``clock`` 的钟。"""

    def __init__(
        self,
        ping: Callable[[], Awaitable[object]],
        fresh: float = FRESH,
        clock: Callable[[], float] = time.monotonic,
        seconds: float = SHIPPED.part,
    ) -> None:
        self.ping = ping
        self.fresh = fresh
        self._clock = clock
        self._seconds = seconds
        self._flight: asyncio.Task[Probe] | None = None
        self._stale_at = 0.0

    async def __call__(self) -> Probe:
        """``fresh`` 秒之内的结果，或正在做的那一次的，或新做一次的。"""
        flight, now = self._flight, self._clock()
        if flight is None or (flight.done() and now >= self._stale_at):
            # 自成一个任务：第一个来问的断开了，不连累后来的
            flight = self._flight = asyncio.create_task(probe(self.ping(), self._seconds), name="probe")
            self._stale_at = now + self.fresh
        return await asyncio.shield(flight)


class Probes:
    """一个应用的探测，每个部件一个。"""

    def __init__(self, services: Services) -> None:
        seconds = services.patience.part

        async def ping_database() -> None:
            async with services.pool.connection(timeout=seconds) as connection:
                await connection.execute("select 1")

        async def ping_redis() -> None:
            await services.redis.ping()  # type: ignore[misc] # redis-py 把同步与异步的标注混在一起

        self.database = SharedProbe(ping_database, seconds=seconds)
        self.redis = SharedProbe(ping_redis, seconds=seconds)


class Writes:
    """会写的请求做成没有：一连几个都因数据库而没做成、没有一个做成，就是写不进（满了、只读、锁着）。"""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._failed_at = 0.0

    def made(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        self._failures += 1
        self._failed_at = self._clock()

    @property
    def are_failing(self) -> bool:
        return self._failures >= SEVERAL and self._clock() - self._failed_at < LATELY


PROBES = web.AppKey("PROBES", Probes)
WRITES = web.AppKey("WRITES", Writes)
