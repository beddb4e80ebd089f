"""一个被模拟的 worker 进程：在定好的那一点上死去、停住、被取消、断了连接；走过哪些点都记着。"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncCursor

from kaguan.outbox.testing.driving import DRIVING, Driven, ended, forever, swallow
from kaguan.outbox.testing.faults import Fault, Point
from kaguan.outbox.testing.frames import Guest, place_of
from kaguan.outbox.testing.stepped import SteppedConnection, Stepper

T = TypeVar("T")
AFTER = "(after)"


@dataclass(eq=False)
class Process(Stepper):
    """``target`` 上来一次 ``fault``。

    Attributes:
        most: 至多走这么多点，再多就停下，``overrun``。
        terminate: 断开这些连接。
        reached: 走到了 ``target``。
        resume: 停在那里的接着走。
        in_flight: 死的时候已经出去、等着回音的。
        trail: 走过的点，按次序。
        swallowed: 取消送进了处理器，它却照常给出结局。
        settled: 结算过了，或在等它们：处理器起的、它返回了还没完的，此前不走一步，谁先谁后不看运气。
        held: 这样等着的有几个。
    """

    name: str
    guest: Guest
    most: int
    terminate: Callable[[list[SteppedConnection]], Awaitable[None]]
    target: Point | None = None
    fault: Fault | None = None
    alive: bool = True
    overrun: bool = False
    swallowed: bool = False
    in_flight: object = None
    connections: list[SteppedConnection] = field(default_factory=list)
    flying: set[asyncio.Task[Any]] = field(default_factory=set)
    trail: list[Point] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    resume: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    held: int = 0
    job: asyncio.Task[Any] | None = None
    _seen: Counter[str] = field(default_factory=Counter)
    _driven: list[Driven] = field(default_factory=list)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _handling: set[asyncio.Task[Any]] = field(default_factory=set)
    _begun: set[asyncio.Task[Any]] = field(default_factory=set)
    _cancelled: set[asyncio.Task[Any]] = field(default_factory=set)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        context = copy_context()
        context.run(DRIVING.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)

    # ---- 走到一处

    async def at(self, place: str, in_flight: object = None) -> None:
        """走到了一处。

        Raises:
            asyncio.CancelledError: 进程死了。
            psycopg.OperationalError: 回音丢了。
        """
        if not self.alive:
            await forever()
        self._seen[place] += 1
        here = Point(place, self._seen[place])
        self.trail.append(here)
        if len(self.trail) > self.most:
            self.overrun, self.alive = True, False
            self.reached.set()
            await forever()
        if here == self.target:
            self.in_flight = in_flight
            self.reached.set()
            await self._strike()

    async def _strike(self) -> None:
        match self.fault:
            case Fault.KILLED | Fault.TAIL_LOST:
                self.alive = False
                await forever()
            case Fault.LEASE_LOST | Fault.TWICE:
                await self.resume.wait()
            case Fault.STOPPED if self.job is not None:
                self.job.cancel()
            case Fault.CUT:
                await self.terminate(self.connections)
                if self.target is not None and self.target.place.endswith(AFTER):
                    raise psycopg.OperationalError("the connection was cut, the answer is lost")

    async def point(self, operation: str, side: str) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        frame = self.guest.running()
        await self.at(f"{'kaguan' if frame is None else place_of(frame)}: {operation} ({side})")

    async def fly(self, action: Callable[[], Awaitable[T]]) -> T:
        """里面的挂起不是处理器自己的。"""
        task = asyncio.current_task()
        if task is None or task in self.flying:
            return await action()
        self._tasks.add(task)  # 还没走到过一个点的，死了也要收掉
        self.flying.add(task)
        try:
            return await action()
        finally:
            self.flying.discard(task)

    async def saw(self, cursor: AsyncCursor[Any], name: str, parameters: Any) -> None:
        """不旁观。"""

    # ---- 它的任务

    def adopt(self, driven: Driven, task: asyncio.Task[Any]) -> None:
        self._driven.append(driven)
        self._tasks.add(task)
        if asyncio.current_task() in self._handling | self._begun:
            self._begun.add(task)
        task.add_done_callback(swallow)
        task.add_done_callback(lambda _: driven.bury())

    def cancelling(self, task: asyncio.Task[Any] | None) -> None:
        if task in self._handling:
            self._cancelled.add(task)

    async def turn(self) -> None:
        if asyncio.current_task() in self._begun and not self._handling:
            self.held += 1
            try:
                await self.settled.wait()
            finally:
                self.held -= 1

    def waits_for(self, awaited: object) -> None:
        if awaited in self._begun and not self._handling:
            self.settled.set()

    async def handle(self, work: Awaitable[T]) -> T:
        """执行处理器；取消送了进去，它就不该照常给出结局。"""
        task = asyncio.current_task()
        if task is None:
            raise LookupError("不在任务里")
        self._handling.add(task)
        try:
            outcome = await work
        finally:
            self._handling.discard(task)
        self.swallowed |= self.fault is Fault.STOPPED and task in self._cancelled
        return outcome

    @property
    def working(self) -> set[asyncio.Task[Any]]:
        return {task for task in self._tasks if not task.done()}

    def bury(self) -> None:
        """死了：手里拿着的（锁、名额）都放开。"""
        for driven in self._driven:
            driven.bury()

    async def end(self) -> None:
        """没有它了。"""
        self.alive = False
        self.bury()
        await ended(self.working - {asyncio.current_task()})
