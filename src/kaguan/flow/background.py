"""在旁边做的事：做它的人死了要说，等它的人不许被它拖住。

3.11 的 ``asyncio.wait_for`` 会吞掉恰逢应答到来的取消（redis-py、psycopg 都用它），所以停要停到真的停下为止；
断了的网络上收尾会拖，只想要答案的就不等。
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from kaguan.words.log import get_logger

log = get_logger(__name__)

T = TypeVar("T")

AGAIN = 0.5  # 秒：取消之后这么久还在转，就再取消一次
PATIENCE = 10.0  # 秒：停机不为它等得更久


@asynccontextmanager
async def in_background(work: Coroutine[Any, Any, object], name: str) -> AsyncIterator[None]:
    """进入即开始做，离开时停下。"""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_tell)
    try:
        yield
    finally:
        await stopped(task)


@asynccontextmanager
async def beside(stop: asyncio.Event, **works: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """里面的旁边做着 ``works``；离开时置位 ``stop``，等它们做完。

    里面出的错原样抛出，旁边的被取消；旁边哪一个死了，里面的被取消，抛它的错，注明是谁。两样都有的才成组。
    """
    try:
        async with asyncio.TaskGroup() as group:
            for name, work in works.items():
                group.create_task(_named(name, work), name=name)
            try:
                yield
            finally:
                stop.set()
    except BaseExceptionGroup as errors:  # 只有一个错的，抛它自己
        if len(errors.exceptions) > 1:
            raise
        only = errors.exceptions[0]
    else:
        return
    raise only  # 在外面抛：它自己的前因还在


async def _named(name: str, work: Callable[[], Awaitable[object]]) -> None:
    try:
        await work()
    except Exception as error:  # 说清是哪一个停的，照抛
        error.add_note(f"{name} has stopped, and with it what was done beside it / {name} 意外停下，旁边的也就停了")
        raise


async def stopped(*tasks: asyncio.Task[Any], patience: float = PATIENCE) -> None:
    """取消它们，到停下为止，至多 ``patience`` 秒；它们出的错不在此抛。"""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    pending = {task for task in tasks if not task.done()}
    while pending and loop.time() < deadline:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=min(AGAIN, patience))
    if pending:
        log.error("后台的活停不下来，不再等", names=sorted(task.get_name() for task in pending))


async def passed_on(stop: asyncio.Event, other: asyncio.Event) -> None:
    """``stop`` 置位之后，``other`` 也置位。"""
    await stop.wait()
    other.set()


async def happens(event: asyncio.Event, seconds: float) -> bool:
    """等它至多 ``seconds`` 秒；到时没有来就是 False。"""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def within(seconds: float, work: Awaitable[T]) -> asyncio.Future[T] | None:
    """做完了的 ``work``；到时没做完就取消它、给 None，不等它收尾。"""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # 没人等它了，出错也不必再说
    try:
        await asyncio.wait({task}, timeout=seconds)
        return task if task.done() else None
    finally:
        task.cancel()


def _tell(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("后台的活意外停下", name=task.get_name(), exc_info=error)
