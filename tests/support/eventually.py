"""等一个条件成立：轮询，有时限，失败时说清等的是什么。"""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
INTERVAL, LONGEST = 0.02, 0.1  # 秒；等得越久问得越疏：每问一次，对面的进程也要花力气


@overload
async def eventually(predicate: Callable[[], Awaitable[T]], timeout: float = ...) -> T: ...  # noqa: ASYNC109 同下


@overload
async def eventually(predicate: Callable[[], T], timeout: float = ...) -> T: ...  # noqa: ASYNC109 同下


async def eventually(predicate: Callable[[], object], timeout: float = 30.0) -> object:  # noqa: ASYNC109 时限就是它的含义
    """反复求值，直到结果为真，返回该结果。

    Args:
        predicate: 同步或异步的条件。
        timeout: 秒。

    Raises:
        AssertionError: 到时仍不成立；消息含最后一次的结果。
    """
    started = time.monotonic()
    while True:
        result = predicate()
        value = await result if inspect.isawaitable(result) else result
        if value:
            return value
        waited = time.monotonic() - started
        if waited > timeout:
            raise AssertionError(f"等了 {timeout:g} 秒仍不成立：{predicate!r}，最后一次是 {value!r}")
        await asyncio.sleep(min(LONGEST, max(INTERVAL, waited / 10)))
