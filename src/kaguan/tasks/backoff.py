"""重试间隔：全抖动指数退避（AWS Architecture Blog「Exponential Backoff And Jitter」）。"""

from __future__ import annotations

import random


def full_jitter(attempt: int, base: float, cap: float, *, source: random.Random | None = None) -> float:
    """第 ``attempt`` 次失败之后等多久：``[0, min(cap, base·2^(attempt-1))]`` 上均匀分布，单位秒。"""
    ceiling = min(cap, base * 2 ** min(attempt - 1, 62))
    return (source or random.SystemRandom()).uniform(0, ceiling)
