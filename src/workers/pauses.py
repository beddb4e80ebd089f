"""让位之后歇多久再接着做。"""

from __future__ import annotations

import random

PAUSE = 10.0  # 秒；有进展而中断的同步歇这么久，再接着问
LONGEST_PAUSE = 600.0  # 秒


def queued_pause(delivery: int) -> float:
    """只是排不上自己的限额的歇多久，单位秒：投递过的次数越多歇得越久，免得不耗尝试而反复占着槽位空等。"""
    ceiling = min(LONGEST_PAUSE, PAUSE * (delivery + 1))
    return random.uniform(max(PAUSE, ceiling / 2), ceiling)  # noqa: S311 只为错开，不涉安全
