"""登录尝试的限速：每个地址每分钟若干次，多个进程共用一个计数。"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aiohttp import web

from kaguan.errors import Code, DomainError

if TYPE_CHECKING:
    from api.http.limits import Counter

MINUTE = 60  # 秒


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


ATTEMPTS = web.AppKey("ATTEMPTS", LoginAttempts)
