"""一个被模拟的进程：它的每个效果前后各有一个具名的点，停在那里，等调度者放行、或在那里死去。"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from psycopg import AsyncCursor

from kaguan.outbox.testing.stepped import SteppedConnection, Stepper
from tests.simulation.clock import place_of
from tests.simulation.turnstile import Turnstile
from tests.simulation.witness import Witness

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Parked:
    """停在一个点上的一处执行。"""

    name: str
    go: asyncio.Future[None]
    place: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Process(Stepper):
    """``role`` 是 api、relay 或 worker。

    Attributes:
        free: 不停，见点就过。
        flying: 已发出、还没回来的效果数。
        points: 停过的点，与头一次在第几步；全体进程共用一个。
        witness: 旁观每条语句，全体进程共用一个。
        turnstile: 分先后的，全体进程共用一个。
        parked: 停着的，先到的在前。
    """

    name: str
    role: str
    points: dict[str, int]
    witness: Witness
    turnstile: Turnstile
    free: bool = False
    alive: bool = True
    flying: int = 0
    parked: list[Parked] = field(default_factory=list)
    jobs: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    connections: list[SteppedConnection] = field(default_factory=list)

    def start(self, label: str, work: Coroutine[object, object, None]) -> None:
        self.jobs[label] = asyncio.create_task(work, name=f"{self.name}/{label}")

    def busy(self, label: str) -> bool:
        return label in self.jobs and not self.jobs[label].done()

    @property
    def working(self) -> list[asyncio.Task[None]]:
        return [job for job in self.jobs.values() if not job.done()]

    async def point(self, operation: str, side: str) -> None:
        """停在这里。

        Raises:
            asyncio.CancelledError: 进程死了；此后它什么也做不成。
        """
        if not self.alive:
            raise asyncio.CancelledError
        self.turnstile.trace.append(f"{self.name} {operation} {side}")
        if self.free:
            return
        name = f"{self.role} {operation} {side}"
        self.points.setdefault(name, len(self.turnstile.trace))
        place = (self.turnstile.step, *place_of(asyncio.current_task()))
        here = Parked(name, asyncio.get_running_loop().create_future(), place)
        insort(self.parked, here, key=lambda one: one.place)
        try:
            await here.go
        finally:
            self.parked.remove(here)
        if not self.alive:
            raise asyncio.CancelledError

    async def fly(self, action: Callable[[], Awaitable[T]]) -> T:
        """没有点的往返（借连接、BEGIN），但调度者得等它回来。"""
        self.flying += 1
        try:
            return await self.turnstile.fly(action)
        finally:
            self.flying -= 1

    async def saw(self, cursor: AsyncCursor[Any], name: str, parameters: Any) -> None:
        await self.witness.look(cursor, name, parameters)

    def go(self, index: int = 0) -> None:
        """放行一处。"""
        if self.parked:
            here = self.parked[index % len(self.parked)]
            if not here.go.done():
                here.go.set_result(None)

    def run_freely(self) -> None:
        """从此见点就过。"""
        self.free = True
        for here in list(self.parked):
            if not here.go.done():
                here.go.set_result(None)
