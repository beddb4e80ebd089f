"""同一刻该先走的是谁：效果一个一个地出去、一个一个地回来，先后由任务的来历定，不由机器的快慢定。"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tests.simulation.clock import place_of

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Gate:
    """等着放行的，先来的先走；同一步里来的，按任务的来历。"""

    waiting: dict[asyncio.Future[None], tuple[int, ...]] = field(default_factory=dict)

    async def passing(self, step: int) -> None:
        here = asyncio.get_running_loop().create_future()
        self.waiting[here] = (step, *place_of(asyncio.current_task()))
        try:
            await here
        finally:
            self.waiting.pop(here, None)

    def let_one_through(self) -> bool:
        """返回放了没有。"""
        if not self.waiting:
            return False
        first = min(self.waiting, key=self.waiting.__getitem__)
        del self.waiting[first]
        if not first.done():
            first.set_result(None)
        return True


@dataclass(slots=True, eq=False)
class Turnstile:
    """全世界一个。

    Attributes:
        step: 放行过几次；同一步里到的分先后，看任务的来历。
        flying: 已发出、还没回来的效果数。
        trace: 每一处走到的点，按次序。
    """

    step: int = 0
    flying: int = 0
    trace: list[str] = field(default_factory=list)
    _out: Gate = field(default_factory=Gate)
    _back: Gate = field(default_factory=Gate)

    async def fly(self, action: Callable[[], Awaitable[T]]) -> T:
        """出去一趟；回来的也要等放行，出了错、被取消的除外：它们不再往下走。"""
        await self._out.passing(self.step)
        self.flying += 1
        try:
            result = await action()
        finally:
            self.flying -= 1
        await self._back.passing(self.step)
        return result

    def next(self) -> bool:
        """放一个：先让回来的走完，再放下一个出去；返回有没有可放的。"""
        self.step += 1
        return self._back.let_one_through() or self._out.let_one_through()
