"""一步一步地推一个协程：它每次挂起都停得住，进程死了就再也不往下走，也不收拾。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from typing import Any, Protocol

from kaguan.outbox.testing.frames import Guest, Suspended, is_asleep, place_of

CLOSINGS = 100  # 收拾时还要等的，一次次关到它肯停


class Mortal(Protocol):
    """被推的进程。"""

    alive: bool
    guest: Guest
    flying: set[asyncio.Task[Any]]

    async def at(self, place: str, in_flight: object = None) -> None:
        """走到了一处；等在这里，或死在这里。``in_flight`` 是已经出去、等着回音的。"""

    def adopt(self, driven: Driven, task: asyncio.Task[Any]) -> None:
        """它的又一个任务。"""

    async def turn(self) -> None:
        """轮到它走；处理器已经返回的，它起的等到结算之后。"""

    def waits_for(self, awaited: object) -> None:
        """有一个停下来等 ``awaited``。"""

    def cancelling(self, task: asyncio.Task[Any] | None) -> None:
        """取消就要送进这个任务。"""


DRIVING: ContextVar[Mortal | None] = ContextVar("kaguan_driving", default=None)


async def forever() -> None:
    """等到被取消。"""
    await asyncio.get_running_loop().create_future()


class Driven:
    """``coroutine`` 由它推；``process`` 在每次挂起时说停不停。"""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], process: Mortal) -> None:
        self._coroutine = coroutine
        self._process = process
        self._last: Suspended | None = None

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[Any], Any] = self._coroutine.send
        given: Any = None
        yield from self._process.turn().__await__()
        while True:
            if not self._process.alive:
                yield from forever().__await__()
            try:
                waiting = step(given)
            except StopIteration as ended:
                return ended.value
            step, given = self._coroutine.send, None
            try:
                yield from self._suspended(waiting)
                yield waiting
                yield from self._process.turn().__await__()
            except GeneratorExit:
                raise
            except BaseException as error:  # 活着的错照抛，死者的不算
                if not self._process.alive:
                    raise
                if isinstance(error, asyncio.CancelledError):
                    self._process.cancelling(asyncio.current_task())
                step, given = self._coroutine.throw, error

    def _suspended(self, waiting: Any) -> Generator[Any, Any, None]:
        """处理器自己的又一次等；等的是钟，就不等。"""
        if isinstance(waiting, asyncio.Future) and not waiting.done() and is_asleep(self._coroutine):
            waiting.set_result(None)
        self._process.waits_for(waiting)
        if asyncio.current_task() not in self._process.flying:
            here = self._process.guest.suspended(self._coroutine)
            if here is not None and not here.is_still(self._last):
                self._last = here
                yield from self._process.at(f"{place_of(here.frame)} (await)", waiting).__await__()

    def bury(self) -> None:
        """死者内存里拿着的（锁、名额）放开；它要做的别的，做不成了。"""
        self._last = None
        for _ in range(CLOSINGS):
            with suppress(Exception):  # 死者收拾时出的错，没有人听
                try:
                    self._coroutine.close()
                except RuntimeError:  # 收拾时还要等：再关
                    continue
            return


@asynccontextmanager
async def driving() -> AsyncIterator[None]:
    """里面起的任务，属于某个进程的都由 :class:`Driven` 推。"""
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Future[Any]:
        context: Context = options.get("context") or copy_context()
        process = context.get(DRIVING)
        if process is None or not asyncio.iscoroutine(coroutine):
            if before is None:
                return asyncio.Task(coroutine, loop=loop, **options)
            return before(loop, coroutine, **options)
        driven = Driven(coroutine, process)
        task: asyncio.Task[Any] = asyncio.Task(_awaited(driven), loop=loop, **(options | {"context": context}))
        process.adopt(driven, task)
        return task

    loop.set_task_factory(factory)
    try:
        yield
    finally:
        loop.set_task_factory(before)


async def _awaited(driven: Driven) -> Any:
    return await driven


async def ended(tasks: set[asyncio.Task[Any]]) -> None:
    """取消这些，等它们都完。"""
    for _ in range(CLOSINGS):
        left = {task for task in tasks if not task.done()}
        if not left:
            return
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=0.05)


def swallow(task: asyncio.Task[Any]) -> None:
    """死者的任务怎么完的，没有人问。"""
    with suppress(asyncio.CancelledError):
        task.exception()
