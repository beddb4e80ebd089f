"""门卫：认证、权限、按令牌限流、积压保护。每条路由都经过它（路由自己声明所需权限）。"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from aiohttp import web
from psycopg import Error

from api.http.addresses import limit, take
from api.http.backlog import Backlog
from api.http.context import context_of
from api.http.keys import Services
from api.http.limits import Counter, Limiter
from kaguan.database.engine import once_more
from kaguan.database.listening import ECHO_PATIENCE, Listener
from kaguan.flow.background import in_background
from kaguan.tokens import service, store
from kaguan.tokens.service import ANONYMOUS, Principal
from kaguan.words.errors import Code, DomainError
from kaguan.words.log import get_logger

log = get_logger(__name__)

CACHE_SECONDS = 0.5  # 过期至多这么久之后生效；吊销有通知，即刻生效，通知没到的也以它为限
CACHE_SIZE = 4_096
TOUCH_INTERVAL = 15.0  # 最后使用时间攒这么久写一次
TOUCH_TIMEOUT = 2.0  # 秒：提交在等一个不在的同步备库；停机不为它等
SCHEME = "Bearer "


class Guard:
    """认出调用者。令牌缓存极短（``remembered`` 秒），换来热路径上不必每次查库。限流的计数在 ``counter``。"""

    def __init__(self, services: Services, remembered: float = CACHE_SECONDS, counter: Counter | None = None) -> None:
        self._remembered = remembered
        self._pool = services.pool
        self._metrics = services.http_metrics
        self._per_token = Limiter("token", services.settings.api.rate_per_token, counter or Counter(services.redis))
        self._backlog = Backlog(services.pool, services.settings.api.backlog_limit)
        self._cache: OrderedDict[str, tuple[float, Principal]] = OrderedDict()
        self._flights: dict[str, asyncio.Task[Principal | None]] = {}
        self._used: set[int] = set()
        self._revocations = 0
        listening, tell = services.settings.database.listening, self._metrics.listener_deaf.labels(store.REVOKED).set
        self.listener = None
        if listening is not None:
            # 语句许慢到多久，回声也许
            patience = max(ECHO_PATIENCE, listening.statement_timeout)
            self.listener = Listener(
                listening, self._pool, "api-listener", store.REVOKED, self.forget, tell, patience=patience
            )

    async def admit(self, request: web.Request, scope: str | None, *, adds_tasks: bool) -> Principal:
        """放行或拒绝。``scope`` 是所需的权限，None 即不用认证；``adds_tasks``：会新增任务，积压超限时不收。

        Raises:
            DomainError: 1002 未认证；1003 没有权限；1006 太快；2003 积压过多。
        """
        if scope is None:
            return ANONYMOUS
        principal = await self.identify(bearer(request))
        context = context_of(request)
        context.principal = principal.name
        key = str(principal.id)
        if not take(context, self._per_token, key):
            await limit(context, self._per_token, key, self._metrics)
        principal.require(scope)
        if adds_tasks:
            self._backlog.check()
        return principal

    async def identify(self, token: str | None) -> Principal:
        """令牌是谁的。

        Raises:
            DomainError: 1002，没给、格式不对、不存在、已吊销或已过期（对外不加区分）。
        """
        if token is None:
            raise DomainError(Code.NOT_AUTHENTICATED)
        cached = self._cache.get(token)
        now = time.monotonic()
        if cached is not None and cached[0] > now:
            return cached[1]
        revocations = self._revocations
        # 缓存里的都合格式；不合格的不必查库
        principal = await self._look_up(token) if service.TOKEN.fullmatch(token) else None
        if principal is None:
            self._cache.pop(token, None)
            raise DomainError(Code.NOT_AUTHENTICATED)
        if revocations == self._revocations:  # 查的时候有吊销：查到的也许是吊销之前的，不记
            self._remember(token, now, principal)
        self._used.add(principal.id)
        return principal

    def _remember(self, token: str, now: float, principal: Principal) -> None:
        self._cache[token] = (now + self._remembered, principal)
        self._cache.move_to_end(token)
        if len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)

    def forget(self) -> None:
        """有令牌被吊销：记着的、正在查的都不算数。"""
        self._revocations += 1
        self._cache.clear()
        self._flights.clear()

    async def _look_up(self, token: str) -> Principal | None:
        """查库；同一令牌的并发请求共用一次查询（缓存到期的那一刻不至于一拥而上）。"""

        async def query() -> Principal | None:
            async with self._pool.connection() as connection:
                return await service.authenticate(connection, token)

        flight = self._flights.get(token)
        if flight is None:
            flight = self._flights[token] = asyncio.create_task(once_more(query), name="authenticate")
            flight.add_done_callback(lambda _: self._flights.pop(token, None))
        # 一个请求断开不该连累同行的
        return await asyncio.shield(flight)

    def facts(self) -> dict[str, Any]:
        """给进程名片的：听不听得见吊销。"""
        return {"deaf": self.listener is not None and self.listener.deaf}

    def background(self) -> dict[str, Coroutine[Any, Any, None]]:
        working = {"backlog": self._backlog.run(), "token-use": self._keep_flushing()}
        return working if self.listener is None else {**working, "revocations": self.listener.run()}

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(TOUCH_INTERVAL)  # 「最近使用」攒着写，不是每个请求写一次
            await self.flush()

    async def flush(self) -> None:
        """写下攒着的最后使用时间；没写成就算了。"""
        used, self._used = self._used, set()
        if not used:
            return
        try:
            async with asyncio.timeout(TOUCH_TIMEOUT), self._pool.connection() as connection:
                await store.touch(connection, sorted(used))
        except (Error, TimeoutError) as error:
            log.debug("没能写令牌的最后使用时间", error=type(error).__name__)


async def guarding(app: web.Application) -> AsyncIterator[None]:
    """门卫的后台活：积压估计、令牌的最后使用时间。"""
    async with AsyncExitStack() as stack:
        for name, work in app[GUARD].background().items():
            await stack.enter_async_context(in_background(work, name))
        yield
    await app[GUARD].flush()


def bearer(request: web.Request) -> str | None:
    header = request.headers.get("Authorization", "")
    return header[len(SCHEME) :].strip() if header[: len(SCHEME)].lower() == SCHEME.lower() else None


GUARD = web.AppKey("GUARD", Guard)
