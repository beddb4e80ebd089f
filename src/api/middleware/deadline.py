"""请求的时限：超过即 504/2004，事务随取消回滚。读请求体另有自己的时限，不挤占处理的。"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import web

from api.keys import SETTINGS
from kaguan.errors import Code, DomainError

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

STREAMS = "/events"
CANCEL_GRACE = 0.3  # 秒：psycopg 取消语句最多等这么久；对面成了黑洞就不再等，连接作废


class Deadline:
    """一次请求的时限，可以重新起算。``hard`` 表示第一次取消没能让处理函数停下。"""

    def __init__(self, limit: asyncio.Timeout, task: asyncio.Task[Any]) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._task = task
        self._hard: asyncio.TimerHandle | None = None
        self.hard = False

    def allow(self, seconds: float) -> None:
        """从现在起再给 ``seconds`` 秒；已经到时就不再改。"""
        if self._limit.expired():
            return
        until = self._loop.time() + seconds
        self._limit.reschedule(until)
        self.cancel()
        self._hard = self._loop.call_at(until + CANCEL_GRACE, self._give_up)

    def cancel(self) -> None:
        if self._hard is not None:
            self._hard.cancel()

    def _give_up(self) -> None:
        self.hard = True
        self._task.cancel()


DEADLINE = web.RequestKey("DEADLINE", Deadline)


@web.middleware
async def deadline(request: web.Request, handler: Handler) -> web.StreamResponse:
    task = asyncio.current_task()
    if task is None or request.path.endswith(STREAMS):
        # 事件流按设计长开，自有心跳与时限
        return await handler(request)
    limit = asyncio.timeout(None)
    clock = Deadline(limit, task)
    request[DEADLINE] = clock
    try:
        async with limit:
            clock.allow(request.app[SETTINGS].api.request_timeout)
            return await handler(request)
    except TimeoutError:
        raise DomainError(Code.TIMED_OUT) from None
    except asyncio.CancelledError:
        if not clock.hard:
            raise
        task.uncancel()
        raise DomainError(Code.TIMED_OUT) from None
    finally:
        clock.cancel()
