"""健康检查：活着吗、能接请求吗、每个部件怎样。不用认证。"""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from api.console.verdicts import VERDICTS, VerdictView, may_look, shown
from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.shapes import View
from api.endpoints.unit_of_work import Mode
from api.http.probing import PROBES, WRITES
from api.openapi import examples
from kaguan.words.errors import Code, DomainError

TAG = "health"
RETRY_AFTER = 2  # 秒


class PartView(View):
    """一个部件：``ok`` 或 ``down``；``latency_ms`` 是探测的耗时，结果至多是一秒前的。"""

    status: Literal["ok", "down"]
    latency_ms: float


class HealthView(View):
    """``ok`` 全好；``unavailable`` 数据库不在。

    ``degraded`` 是 Redis 不在（照常受理，任务在 PostgreSQL 里等），或写入都做不成（满了、只读、别人锁着）。
    """

    status: Literal["ok", "degraded", "unavailable"]
    parts: dict[str, PartView]
    verdict: VerdictView


class AliveView(View):
    status: Literal["ok"]


async def health(call: Call[Any, Any]) -> Answer:
    probes = call.request.app[PROBES]
    database, redis, (_, verdict), detailed = await asyncio.gather(
        probes.database(), probes.redis(), call.request.app[VERDICTS].look(), may_look(call.request)
    )
    found = {
        "parts": {"database": database.view(), "redis": redis.view()},
        "verdict": shown(verdict, call.language, detailed=detailed),
    }
    if not database.up:
        raise DomainError(Code.DATABASE_UNAVAILABLE, retry_after=RETRY_AFTER, data={"status": "unavailable", **found})
    if not redis.up:
        raise DomainError(
            Code.OVERLOADED,
            "降级：Redis 不可用，照常受理，任务稍后执行",
            "degraded: Redis is away, work is accepted",
            retry_after=RETRY_AFTER,
            data={"status": "degraded", **found},
        )
    if verdict.is_locked or call.request.app[WRITES].are_failing:
        raise DomainError(
            Code.DATABASE_UNAVAILABLE,
            "降级：写入都做不成",
            "degraded: every write fails",
            retry_after=RETRY_AFTER,
            data={"status": "degraded", **found},
        )
    return Answer({"status": "ok", **found})


async def live(_call: Call[Any, Any]) -> Answer:
    return Answer({"status": "ok"})


async def ready(call: Call[Any, Any]) -> Answer:
    database = await call.request.app[PROBES].database()
    if not database.up:
        raise DomainError(Code.DATABASE_UNAVAILABLE, retry_after=RETRY_AFTER)
    return Answer({"status": "ok"})


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
