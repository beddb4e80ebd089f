"""虚拟时钟：事件循环的时间只在要它走时才走。I/O 照常，计时器不会自己到期，所以机器再慢结果也一样。"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Coroutine
from typing import Any, cast
from weakref import WeakKeyDictionary

START = 1_000.0  # 秒；任意
_places: WeakKeyDictionary[asyncio.Task[Any], tuple[int, ...]] = WeakKeyDictionary()
_children: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()


def place_of(task: asyncio.Task[Any] | None) -> tuple[int, ...]:
    """它是谁的第几个孩子，一层一层；同一步里的先后看它，不看事件循环绕了几圈（各版本的 Python 不同）。"""
    return () if task is None else _places.get(task, ())


class VirtualLoop(asyncio.SelectorEventLoop):
    """``time()`` 由 :meth:`jump` 推进，单位秒。"""

    def __init__(self) -> None:
        super().__init__()
        self._now = START
        self._born = 0

    def time(self) -> float:
        return self._now

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:  # type: ignore[override] # 各版本的选项不同，照传
        parent = asyncio.current_task(self) if self.is_running() else None
        task: asyncio.Task[Any] = super().create_task(coro, **options)
        if parent is None:
            self._born += 1
            _places[task] = (self._born,)
        else:
            _children[parent] = _children.get(parent, 0) + 1
            _places[task] = (*place_of(parent), _children[parent])
        return task

    def is_quiet(self) -> bool:
        """除了正在跑的，没有可跑的。"""
        return not cast("Any", self)._ready  # noqa: SLF001 asyncio 没有公开的读法

    def wait_for_io(self, timeout: float) -> None:
        """没有可跑的：睡到有 I/O 来，至多 ``timeout`` 秒（真的）。"""
        if self.is_quiet():
            select.select([cast("Any", self)._selector.fileno()], [], [], timeout)  # noqa: SLF001 同上

    def jump(self) -> bool:
        """走到最近的一个计时器；没有计时器则返回 False。"""
        pending = cast("Any", self)._scheduled  # noqa: SLF001 asyncio 没有公开的读法
        timers = [timer for timer in pending if not timer.cancelled()]
        if not timers:
            return False
        self._now = max(self._now, min(timer.when() for timer in timers))
        return True
