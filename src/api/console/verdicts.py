"""判断，给 /health 与控制台：一个进程里至多每秒看一次，几个人同时看也只看一遍。"""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Literal

from aiohttp import web

from api.endpoints.shapes import View
from api.http.addresses import ADDRESSES
from api.http.context import context_of
from api.http.guard import GUARD, bearer
from api.http.keys import SERVICES, Services
from kaguan.database.pool import Connection
from kaguan.flow.background import within
from kaguan.tokens.service import LOOK
from kaguan.verdict import service
from kaguan.verdict.model import Acknowledgement, Verdict
from kaguan.verdict.observation import Observation
from kaguan.verdict.wording import Wording
from kaguan.words.errors import DomainError
from kaguan.words.personal import masked

FRESH = 1.0  # 秒：这么新的不必再看


class AcknowledgedView(View):
    """收起来的：谁、为什么、到何时。"""

    actor: str
    reason: str
    until: datetime


class ConcernView(View):
    """一件要留意的事（``ok`` 的只是说一声：人停下的）；没有 ``ops:read`` 令牌的只给代号与轻重，不给是谁、为什么。

    ``because`` 是它的根由：``代号:是谁``；没有即它自己就是根由。
    """

    code: str
    level: Literal["ok", "warn", "bad"]
    since: datetime | None = None
    subject: str | None = None
    because: str | None = None
    parameters: dict[str, str | int | float | None] | None = None
    text: str | None = None
    advice: str | None = None
    acknowledged: AcknowledgedView | None = None


class VerdictView(View):
    """判断：``unknown`` 是看不见（数据库没有应答）。控制台与 ``kaguan doctor`` 说的是同一个。"""

    level: Literal["ok", "warn", "bad", "unknown"]
    at: datetime
    concerns: list[ConcernView]


class VerdictCache:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._busy = asyncio.Lock()
        self._seen: tuple[float, Observation, Verdict] | None = None

    async def look(self) -> tuple[Observation, Verdict]:
        """最多一秒前的所见与判断；依赖不在不抛异常。"""
        async with self._busy:
            if self._seen is None or self._seen[0] < time.monotonic() - FRESH:
                here = self._services
                seen, verdict = await service.take(self._connect, here.redis, here.settings, here.patience)
                self._seen = (time.monotonic(), seen, verdict)
            return self._seen[1], self._seen[2]

    def _connect(self) -> AbstractAsyncContextManager[Connection]:
        return self._services.pool.connection()


def shown(verdict: Verdict, language: str, *, detailed: bool) -> dict[str, Any]:
    """:class:`VerdictView`；不详细的同一代号只列一次。"""
    wording = Wording(language)
    concerns: list[dict[str, Any]] = []
    for concern in verdict.concerns:
        line: dict[str, Any] = {"code": concern.code, "level": concern.level}
        if detailed:
            line |= {
                "since": concern.since,
                "subject": masked(concern.subject),
                "because": masked(concern.because) or None,
                "parameters": {name: impersonal(value) for name, value in wording.parameters(concern).items()},
                "text": impersonal(wording.text(concern)),
                "advice": wording.advice(concern),
                "acknowledged": _known(concern.acknowledged),
            }
        if line not in concerns:
            concerns.append(line)
    return {"level": verdict.level, "at": verdict.at, "concerns": concerns}


def _known(told: Acknowledgement | None) -> dict[str, Any] | None:
    return None if told is None else {"actor": told.actor, "reason": impersonal(told.reason), "until": told.until}


def impersonal(value: Any) -> Any:
    """只看的人也看得到：键、原因里的邮箱地址与长号码遮住。"""
    return masked(value) if isinstance(value, str) else value


async def may_look(request: web.Request) -> bool:
    """带着能看运维的令牌；没带、不对、此刻认不出的都只是没有，不是错误。猜令牌的照样按地址限流。"""
    token = bearer(request)
    if token is None:
        return False
    try:
        await request.app[ADDRESSES].admit(context_of(request))
    except DomainError:
        return False
    # 认令牌要查库，库不在就当没带
    known = await within(request.app[SERVICES].patience.part, request.app[GUARD].identify(token))
    return known is not None and known.exception() is None and known.result().may(LOOK)


VERDICTS = web.AppKey("VERDICTS", VerdictCache)
