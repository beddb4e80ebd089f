"""门卫：认证、权限、按令牌限流、积压保护。每条路由都经过它（路由自己声明所需权限）。"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from api.context import context_of
from kaguan.errors import Code, DomainError
from kaguan.tokens import service, store
from kaguan.tokens.service import ANONYMOUS, Principal

if TYPE_CHECKING:
    from api.endpoint import Endpoint
    from kaguan.database.pool import Pool

log = structlog.get_logger(__name__)

CACHE_SECONDS = 0.5  # 吊销至多这么久之后生效
CACHE_SIZE = 4_096
TOUCH_INTERVAL = 15.0  # 最后使用时间攒这么久写一次
SCHEME = "Bearer "


class Guard:
    """认出调用者。令牌缓存极短，换来热路径上不必每次查库。"""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._cache: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._used: set[int] = set()

    async def admit(self, request: web.Request, endpoint: Endpoint) -> Principal:
        """放行或拒绝。

        Raises:
            DomainError: 1002 未认证；1003 没有权限。
        """
        if endpoint.scope is None:
            return ANONYMOUS
        principal = await self.identify(_bearer(request))
        context_of(request).principal = principal.name
        if not principal.may(endpoint.scope):
            raise DomainError(Code.NOT_ALLOWED, f"需要权限 {endpoint.scope}", f"scope {endpoint.scope} is required")
        return principal

    async def identify(self, token: str | None) -> Principal:
        """令牌是谁的。

        Raises:
            DomainError: 1002，没给、格式不对、不存在、已吊销或已过期（对外不加区分）。
        """
        if token is None or service.TOKEN.fullmatch(token) is None:
            raise DomainError(Code.NOT_AUTHENTICATED)
        key = service.digest(token)
        cached = self._cache.get(key)
        now = time.monotonic()
        if cached is not None and cached[0] > now:
            return cached[1]
        async with self._pool.connection() as connection:
            principal = await service.authenticate(connection, token)
        if principal is None:
            self._cache.pop(key, None)
            raise DomainError(Code.NOT_AUTHENTICATED)
        self._cache[key] = (now + CACHE_SECONDS, principal)
        self._cache.move_to_end(key)
        if len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)
        self._used.add(principal.id)
        return principal

    async def flush(self) -> int:
        """写下攒着的最后使用时间；返回枚数。"""
        used, self._used = self._used, set()
        if used:
            async with self._pool.connection() as connection:
                await store.touch(connection, sorted(used))
        return len(used)


def _bearer(request: web.Request) -> str | None:
    header = request.headers.get("Authorization", "")
    return header[len(SCHEME) :].strip() if header[: len(SCHEME)].lower() == SCHEME.lower() else None


GUARD = web.AppKey("GUARD", Guard)
