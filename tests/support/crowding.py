"""一拥而上是多挤：一段多长，由同一个进程里同时在跳的节拍说，不由机器的钟说。"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.support.alongside import alongside

TICK = 0.005  # 秒


@asynccontextmanager
async def ticking() -> AsyncIterator[list[float]]:
    """其间跳过的每一下。"""
    loop, ticks = asyncio.get_running_loop(), list[float]()

    async def tick() -> None:
        while True:
            ticks.append(loop.time())
            await asyncio.sleep(TICK)

    async with alongside(tick(), "ticks"):
        yield ticks


def crowd(moments: Sequence[float], ticks: Sequence[float], seconds: float) -> float:
    """最挤的一段里，每 ``seconds`` 秒几次。停顿里积下、一醒来就涌到的，摊在整个停顿上。"""
    worst, end, latest = 0.0, 0, max([*ticks[-1:], *moments[-1:]], default=0.0)
    for first in range(1, len(ticks)):
        while end < len(ticks) and ticks[end] - ticks[first] < seconds:
            end += 1
        if end < len(ticks):
            until, last = ticks[end], bisect_left(moments, ticks[end])
        else:  # 末了不足一段的也算一段：最后一起来的，一来就收场
            until, last = latest, len(moments)
        lasted = max(seconds, until - ticks[first - 1])
        worst = max(worst, (last - bisect_left(moments, ticks[first])) * seconds / lasted)
    return worst
