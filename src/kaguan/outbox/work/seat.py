"""一次尝试坐在哪里：占着的名额与槽位。在等外面的时候让出槽位，名额还占着。"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kaguan.outbox.work.places import NoPlaceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kaguan.outbox.vocabulary import Priority
    from kaguan.outbox.work.intake import Slots
    from kaguan.outbox.work.places import Gate, Gates


@dataclass(frozen=True, slots=True)
class Seats:
    """一个进程的槽位与名额。"""

    slots: Slots
    gates: Gates

    def of(self, queue: Priority, task_type: str, *, called: bool) -> Seat:
        return Seat(self.slots, self.gates, queue, task_type, called)


@dataclass(frozen=True, slots=True)
class Seat:
    """``called``：等过名额、叫回来的。"""

    slots: Slots
    gates: Gates
    queue: Priority
    type: str
    called: bool = False

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """先有类型的名额，再占槽位。

        Raises:
            NoPlaceError: 没有名额，而且不会马上轮到。
        """
        async with AsyncExitStack() as stack:
            if (gate := self.gates.of_type(self.type)) is not None:
                try:
                    await stack.enter_async_context(self._through(gate))
                except NoPlaceError:
                    self.slots.turned_away()
                    raise
            await stack.enter_async_context(self.slots.running(self.queue, self.type))
            yield

    @asynccontextmanager
    async def place(self, whom: str) -> AsyncIterator[None]:
        """占着槽位来排 ``whom`` 的队：要等的，等的时候让出槽位。

        Raises:
            NoPlaceError: 没有名额，而且不会马上轮到。
            LookupError: 类型没有声明要排它的队。
        """
        gate = self.gates.of(self.type, whom)
        async with AsyncExitStack() as stack:
            async with self.outside(whom):
                await stack.enter_async_context(self._through(gate))
            yield

    @asynccontextmanager
    async def outside(self, whom: str) -> AsyncIterator[None]:
        """其间等的是外面：没有名额管着个数的，槽位仍占着。"""
        if self.gates.bounds(self.type):
            async with self.slots.outside(self.queue, self.type, whom):
                yield
        else:
            with self.slots.staying(self.type, whom):
                yield

    def _through(self, gate: Gate) -> AbstractAsyncContextManager[None]:
        return gate.entered(self.queue, called=self.called, waits=self.slots.unhold)
