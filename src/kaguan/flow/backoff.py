"""两次尝试之间等多久：指数退避与抖动（AWS「Exponential Backoff And Jitter」）；都以秒计，次数从 1 起。"""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable

# 秒；对方不在、或叫晚些来的，第 n 次失败之后至少等这么久：头一次照顾一闪而过的，其余合起来近一小时，
# 熬得过灰名单（常见 5 分钟）与一般的停机维护。各项都不超过退避上限
OUTAGE_FLOORS = (10.0, 60.0, 300.0, 900.0, 1_800.0)
FIRST_BACKOFF, BACKOFF_MAX = 0.2, 5.0  # 秒；PostgreSQL、Redis 不在时：头一次、至多
RECONNECT = (0.5, 1.5)  # 秒；断了的监听多久之后再连，随机：对方回来时不一齐去连
STARTING_MAX = 30.0  # 秒；启动时等依赖，两次之间至多


def jitter(low: float, high: float) -> float:
    """``[low, high]`` 上均匀分布：大家不在同一刻回来。"""
    return random.uniform(low, high)  # noqa: S311 只为错开，不涉安全


def about(seconds: float) -> float:
    """一拍一拍的活，败了下一拍再来的：前后两成，一齐起的、一齐碰上故障的不总在同一刻。"""
    return jitter(0.8 * seconds, 1.2 * seconds)


def exponential(attempt: int, base: float, cap: float) -> float:
    """第 ``attempt`` 次失败之后的上界 ``min(cap, base·2^(attempt-1))``；独自一个、不怕撞上别人的就等这么久。"""
    return min(cap, base * 2.0 ** min(attempt - 1, 62))


def full_jitter(attempt: int, base: float, cap: float) -> float:
    """零到上界之间：最分散，许多同类一起重试时用。"""
    return jitter(0, exponential(attempt, base, cap))


def equal_jitter(attempt: int, base: float, cap: float) -> float:
    """上界的一半到上界之间：分散，又不会转得太快。"""
    ceiling = exponential(attempt, base, cap)
    return jitter(ceiling / 2, ceiling)


def outage_wait(attempt: int, base: float, cap: float) -> float:
    """对方不在时：全抖动之下垫一层逐次上升的下限，仍不超过 ``cap``。"""
    floor = OUTAGE_FLOORS[min(attempt, len(OUTAGE_FLOORS)) - 1]
    return min(cap, floor + full_jitter(attempt, base, cap))


async def while_starting(
    reach: Callable[[int], Awaitable[object]], on: type[Exception], attempts: int, first: float
) -> None:
    """启动时等一个依赖：``reach``（收下第几次）碰上 ``on`` 就退避着再试，共 ``attempts`` 次。

    第 n 次之后等 ``first·2^(n-1)`` 到它的两倍（秒）：一起启动的不一齐来。
    """
    from redis import asyncio, backoff  # noqa: PLC0415 与 Redis 无关的命令也用这个模块，不为它付导入的时间

    counter = itertools.count(1)

    async def again(_failure: Exception) -> None:
        """redis-py 的重试要有一个。"""

    waits = backoff.EqualJitterBackoff(cap=STARTING_MAX, base=first)
    # 它的标注只认 Redis 的错误，做的对哪一种都一样
    retry = asyncio.retry.Retry(waits, attempts - 1, (on,))  # type: ignore[arg-type]
    await retry.call_with_retry(lambda: reach(next(counter)), again)
