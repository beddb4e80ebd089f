"""登录尝试与权限不够的留痕都限速，多个进程共用一个计数。"""

from __future__ import annotations

import time

from aiohttp import web

from api.http.limits import Counter
from kaguan.tokens.service import OPERATE, Principal
from kaguan.words.errors import Code, DomainError
from kaguan.words.units import MINUTE

REFUSALS_NOTED = 5  # 每人每种操作每分钟


class LoginAttempts:
    def __init__(self, counter: Counter, per_minute: int) -> None:
        self._counter = counter
        self._per_minute = per_minute

    async def admit(self, address: str) -> None:
        """记一次尝试。

        Raises:
            DomainError: 1006，这一分钟试得太多。
        """
        now = int(time.time())
        used = await self._counter.add(f"login/{address}/{now // MINUTE}", 1, MINUTE)
        if used > self._per_minute:
            raise DomainError(Code.TOO_MANY_REQUESTS, retry_after=MINUTE - now % MINUTE)


class RefusalNotes:
    """权限不够而被拒的，每人每种操作一分钟至多留痕 :data:`REFUSALS_NOTED` 行：只许看的人写不满审计。

    访问日志里一次不少。
    """

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    async def admit(self, principal: Principal | None, action: str) -> bool:
        """这一次要不要留痕；有 ``ops`` 的总要。"""
        if principal is None or principal.may(OPERATE):
            return True
        minute = int(time.time()) // MINUTE
        used = await self._counter.add(f"refused/{principal.name}/{action}/{minute}", 1, MINUTE)
        return used <= REFUSALS_NOTED


ATTEMPTS = web.AppKey("ATTEMPTS", LoginAttempts)
