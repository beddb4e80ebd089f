"""循环：``run_once() -> int`` 之外的一切——何时再来、出错怎么退避、怎么停。"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext

from redis.exceptions import RedisError

from kaguan.database.pool import PASSING_ERRORS
from kaguan.flow.background import happens, in_background, passed_on
from kaguan.flow.backoff import FIRST_BACKOFF, equal_jitter
from kaguan.words.log import get_logger

log = get_logger(__name__)

# 对方不在：退避再来，只在开始与恢复时各说一次
AWAY = (RedisError, *PASSING_ERRORS)
RUN_TIMEOUT = 60.0  # 秒：一次 run_once 至多这么久；会话还在而对方不答时，只有它能脱身


async def run(  # noqa: PLR0913 各是何时再来的一个条件
    name: str,
    run_once: Callable[[], Awaitable[int]],
    *,
    interval: float | Callable[[], float],
    backoff_max: float,
    stop: asyncio.Event,
    full: int = 1,
    wake: asyncio.Event | None = None,
    rouse: asyncio.Event | None = None,
    limit: float = RUN_TIMEOUT,
) -> None:
    """反复 ``run_once``：做满 ``full`` 个就接着干，否则等 ``interval`` 秒、``wake``（门铃；停机也置位它）或停机。

    干了活就置位 ``rouse``；一次至多 ``limit`` 秒。

    意外的错误也不结束循环：一个循环的毛病不该停掉别的循环。
    """
    failures, woken = 0, wake or stop
    async with nullcontext() if wake is None else in_background(passed_on(stop, wake), f"{name}-stop"):
        while not stop.is_set():
            try:
                async with asyncio.timeout(limit):
                    done = await run_once()
            except AWAY as error:
                failures += 1
                if failures == 1:
                    log.warning("依赖不可用，退避重试", loop=name, error=type(error).__name__)
                await happens(stop, equal_jitter(failures, FIRST_BACKOFF, backoff_max))
                continue
            except Exception:  # 一个循环的毛病不停掉别的循环
                failures += 1
                log.exception("循环意外出错，退避重试", loop=name)
                await happens(stop, equal_jitter(failures, FIRST_BACKOFF, backoff_max))
                continue
            if failures:
                log.info("依赖恢复", loop=name, failures=failures)
                failures = 0
            if done and rouse is not None:
                rouse.set()
            if done < full and not stop.is_set():
                await happens(woken, interval() if callable(interval) else interval)
                if wake is not None:
                    wake.clear()
