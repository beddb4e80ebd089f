"""等一个条件成立；等待的上限只在这里定。

上限是给挂住的东西的，不是给慢的：用例断言的是次序、次数、状态，或与同时跑的对照之比，不是这台机器的钟。
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable
from itertools import repeat
from typing import Final, TypeVar, overload

from kaguan.verdict.patience import Patience

T = TypeVar("T")
INTERVAL, LONGEST = 0.02, 0.1  # 秒；等得越久问得越疏：每问一次，对面的进程也要花力气
GENEROUS = 120.0  # 秒；用例写成的那台机器上最长的一次等待不到它的四分之一
USUAL = 0.006  # 秒；下面那一段在那台机器上要这么久
CORES = 2


def _pace() -> float:
    """这台机器此刻比用例写成的那台慢几倍，至少 1；处理器少的按比例更慢。"""
    took = min(_worked() for _ in range(5))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1.0, took / USUAL) * max(1.0, CORES / cores)


def _worked() -> float:
    """整段都在 C 里：覆盖率跟踪着每一次 Python 调用，慢的是它，不是机器。"""
    began = time.perf_counter()
    sum(map(pow, range(60_000), repeat(3), repeat(7)))
    return time.perf_counter() - began


PACE: Final = _pace()
# 秒；``TEST_PATIENCE`` 另给：变异的代码常常就是让人白等，不必等满
PATIENCE: Final = float(os.environ.get("TEST_PATIENCE", GENEROUS * PACE))
WHOLE_TEST: Final = 5 * PATIENCE  # 秒；一个用例连同它的夹具
# 出厂是 1–5 秒：哪个进程停顿几秒，不该成了请求、语句、命令的失败；锁、语句、借连接、请求，里面的短些
PATIENT: Final = {
    "KAGUAN_API__REQUEST_TIMEOUT": f"{PATIENCE / 4:g}",
    "KAGUAN_DATABASE__ACQUIRE_TIMEOUT": f"{PATIENCE / 5:g}",
    "KAGUAN_DATABASE__STATEMENT_TIMEOUT": f"{PATIENCE / 6:g}",
    "KAGUAN_DATABASE__LOCK_TIMEOUT": f"{min(8, PATIENCE / 15):g}",  # 比一批语句的时限短：一行锁着，别的逐个重来
    "KAGUAN_DATABASE__IDLE_IN_TRANSACTION_TIMEOUT": f"{PATIENCE / 5:g}",
    "KAGUAN_DATABASE__CONNECT_TIMEOUT": f"{PATIENCE / 6:g}",
    "KAGUAN_REDIS__SOCKET_TIMEOUT": f"{PATIENCE / 6:g}",
    "KAGUAN_REDIS__CONNECT_TIMEOUT": f"{PATIENCE / 6:g}",
}
UNHURRIED: Final = Patience(*[PATIENCE / 12] * 4)  # 看一眼也一样；一眼先后有两份，合起来仍在请求的时限之内


@overload
async def eventually(predicate: Callable[[], Awaitable[T]], patience: float = ...) -> T: ...


@overload
async def eventually(predicate: Callable[[], T], patience: float = ...) -> T: ...


async def eventually(predicate: Callable[[], object], patience: float = PATIENCE) -> object:
    """反复求值（同步或异步的条件），直到结果为真，返回该结果。

    Raises:
        AssertionError: 等了 ``patience`` 秒（总写成 :data:`PATIENCE` 的几倍）仍不成立；消息含最后一次的结果。
    """
    started = time.monotonic()
    while True:
        result = predicate()
        value = await result if inspect.isawaitable(result) else result
        if value:
            return value
        waited = time.monotonic() - started
        if waited > patience:
            raise AssertionError(f"等了 {patience:g} 秒仍不成立：{predicate!r}，最后一次是 {value!r}")
        await asyncio.sleep(min(LONGEST, max(INTERVAL, waited / 10)))
