"""重试间隔：全抖动指数退避（AWS Architecture Blog「Exponential Backoff And Jitter」）。"""

from __future__ import annotations

import random

# 秒；对方不在、或叫晚些来的，第 n 次失败之后至少等这么久：头一次照顾一闪而过的，其余合起来近一小时，
# 熬得过灰名单（常见 5 分钟）与一般的停机维护。各项都不超过退避上限
OUTAGE_FLOORS = (10.0, 60.0, 300.0, 900.0, 1_800.0)


def full_jitter(attempt: int, base: float, cap: float, *, source: random.Random | None = None) -> float:
    """第 ``attempt`` 次失败之后等多久：``[0, min(cap, base·2^(attempt-1))]`` 上均匀分布，单位秒。"""
    ceiling = min(cap, base * 2 ** min(attempt - 1, 62))
    return (source or random.SystemRandom()).uniform(0, ceiling)


def outage_wait(attempt: int, base: float, cap: float, *, source: random.Random | None = None) -> float:
    """对方不在时第 ``attempt`` 次失败之后等多久：全抖动之下垫一层逐次上升的下限，仍不超过 ``cap``，单位秒。"""
    floor = OUTAGE_FLOORS[min(attempt, len(OUTAGE_FLOORS)) - 1]
    return min(cap, floor + full_jitter(attempt, base, cap, source=source))
