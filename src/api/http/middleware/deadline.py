"""请求的时限：超过即 504/2004，事务随取消回滚。读请求体另有自己的时限，不挤占处理的。

一个进程一只粗粒度的钟，隔一拍看一遍在途的请求；每请求各设闹钟（asyncio.timeout）要贵几倍。
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from kaguan.words.errors import Code, DomainError

CANCEL_GRACE = 0.3  # 秒：psycopg 取消语句最多等这么久；对面成了黑洞就不再等，连接作废
TICK = 0.05  # 秒：时限至多晚到这么久


class Deadline:
    """一次请求的时限，是个上下文管理器；可以重新起算。

    第一次取消没能让处理函数停下（它在等数据库取消语句），再过 ``grace`` 秒取消第二次。

    Raises:
        DomainError: 2004，到时了。
    """

    __slots__ = ("_before", "_deadlines", "_task", "cancels", "until")

    def __init__(self, deadlines: Deadlines, task: asyncio.Task[Any], until: float) -> None:
        self._deadlines = deadlines
        self._task = task
        self._before = task.cancelling()
        self.until = until
        self.cancels = 0

    def allow(self, seconds: float) -> None:
        """从现在起再给 ``seconds`` 秒；已经到时就不再改。"""
        if not self.cancels:
            self.until = time.monotonic() + seconds

    def lift(self) -> None:
        """从此不限：长开的应答自有心跳与寿命，头发出之后也不能再换成超时的应答。"""
        self._deadlines.forget(self)

    def expire(self) -> None:
        """到时：取消，至多两次。"""
        self.cancels += 1
        self.until = self.until + self._deadlines.grace if self.cancels == 1 else float("inf")
        self._task.cancel()

    def __enter__(self) -> Self:
        self._deadlines.watch(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._deadlines.forget(self)
        if not self.cancels:
            return
        for _ in range(self.cancels):
            left = self._task.uncancel()
        # 别人也取消了它（断开、停机）：那是另一回事，照常取消
        if left <= self._before and kind is asyncio.CancelledError:
            raise DomainError(Code.TIMED_OUT) from None


class Deadlines:
    """在途请求的钟。没有请求时它也不走。

    Args:
        seconds: 处理一个请求的时限。
        tick: 多久看一遍，秒。
        grace: 第一次取消之后等多久，秒。
    """

    def __init__(self, seconds: float, tick: float = TICK, grace: float = CANCEL_GRACE) -> None:
        self._seconds = seconds
        self._tick = tick
        self.grace = grace
        self._watched: set[Deadline] = set()
        self.ticking = False

    def limit(self) -> Deadline:
        """给当前任务一个从现在起算的时限。

        Raises:
            RuntimeError: 不在任务里。
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("只能在任务里用")
        return Deadline(self, task, time.monotonic() + self._seconds)

    def watch(self, deadline: Deadline) -> None:
        self._watched.add(deadline)
        if not self.ticking:
            self.ticking = True
            asyncio.get_running_loop().call_later(self._tick, self.tick)

    def forget(self, deadline: Deadline) -> None:
        self._watched.discard(deadline)

    def tick(self) -> None:
        """看一遍；还有在途的就约好下一次。"""
        now = time.monotonic()
        for deadline in self._watched:
            if now >= deadline.until:
                deadline.expire()
        self.ticking = bool(self._watched)
        if self.ticking:
            asyncio.get_running_loop().call_later(self._tick, self.tick)


DEADLINE = web.RequestKey("DEADLINE", Deadline)
DEADLINES = web.AppKey("DEADLINES", Deadlines)
