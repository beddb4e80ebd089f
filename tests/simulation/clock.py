"""虚拟时钟：事件循环的时间只在要它走时才走。I/O 照常，计时器不会自己到期，所以机器再慢结果也一样。"""

from __future__ import annotations

import asyncio
import select
from typing import Any, cast

START = 1_000.0  # 秒；任意


class VirtualLoop(asyncio.SelectorEventLoop):
    """``time()`` 由 :meth:`jump` 推进，单位秒。"""

    def __init__(self) -> None:
        super().__init__()
        self._now = START

    def time(self) -> float:
        return self._now

    def wait_for_io(self, timeout: float) -> None:
        """没有可跑的：睡到有 I/O 来，至多 ``timeout`` 秒（真的）。"""
        inside = cast("Any", self)
        if not inside._ready:  # noqa: SLF001 asyncio 没有公开的读法
            select.select([inside._selector.fileno()], [], [], timeout)  # noqa: SLF001 同上

    def jump(self) -> bool:
        """走到最近的一个计时器；没有计时器则返回 False。"""
        pending = cast("Any", self)._scheduled  # noqa: SLF001 asyncio 没有公开的读法
        timers = [timer for timer in pending if not timer.cancelled()]
        if not timers:
            return False
        self._now = max(self._now, min(timer.when() for timer in timers))
        return True
