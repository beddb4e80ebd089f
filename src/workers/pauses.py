"""让位之后歇多久再接着做。"""

from __future__ import annotations

from kaguan.flow.backoff import equal_jitter, jitter
from kaguan.words.units import HOUR

PAUSE = 10.0  # 秒；有进展而中断的同步歇这么久，再接着问
LONGEST_PAUSE = 600.0  # 秒
RECALLED = 30.0  # 秒；剩下不超过这么久的，不必提前叫回来
LONGEST_OUTAGE_PAUSE = float(HOUR)  # 秒；恢复靠 relay 提前叫回来，这只是兜底，所以长些，免得大量的信空跑


def failed_pause() -> float:
    """刚试过、外面不在的歇多久，单位秒：短，够断路器弄清是不是一闪而过；不短于它，叫回来的也转不快。"""
    return jitter(PAUSE, RECALLED)


def outage_pause(passes: int) -> float:
    """断路器断开着、没有去试的歇多久，单位秒：``passes`` 是已经空跑了几趟，一趟比一趟久。"""
    return equal_jitter(passes + 1, 2 * RECALLED, LONGEST_OUTAGE_PAUSE)


def queued_pause(delivery: int) -> float:
    """只是排不上自己的限额的歇多久，单位秒：投递过的次数越多歇得越久，免得不耗尝试而反复占着槽位空等。"""
    ceiling = min(LONGEST_PAUSE, PAUSE * (delivery + 1))
    return jitter(max(PAUSE, ceiling / 2), ceiling)
