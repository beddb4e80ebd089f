"""走错的钟：``CHAOS_CLOCK`` 指着的文件里写着偏差（秒），本进程的 ``time.time`` 与 ``time.time_ns`` 随之跳。

SAQ 的时间戳、跟踪与指标都从这两个函数来。``datetime.now`` 不经过它们，不在其内；单调钟也不动。
"""

from __future__ import annotations

import os
import time
from pathlib import Path

VARIABLE = "CHAOS_CLOCK"
REREAD = 0.2  # 秒
NANOSECONDS = 1_000_000_000


class SteppedClock:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._read_at = -REREAD
        self._time, self._time_ns, self._monotonic = time.time, time.time_ns, time.monotonic

    def time(self) -> float:
        return self._time() + self._now_off()

    def time_ns(self) -> int:
        return self._time_ns() + self._now_off() * NANOSECONDS

    def _now_off(self) -> int:
        now = self._monotonic()
        if now - self._read_at >= REREAD:
            self._read_at = now
            try:
                self._offset = int(self._path.read_text("utf-8"))
            except (OSError, ValueError):
                self._offset = 0
        return self._offset


def install() -> None:
    """没有 ``CHAOS_CLOCK`` 就什么也不换。须在别的模块 ``from time import …`` 之前。"""
    path = os.environ.get(VARIABLE)
    if path:
        clock = SteppedClock(Path(path))
        vars(time).update(time=clock.time, time_ns=clock.time_ns)
