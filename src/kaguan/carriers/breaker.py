"""断路器：连续失败就断开，冷却之后半开、一次只放一个试探。

现成的库（purgatory）把「不计入的」当作成功：限流、取消会清零失败数，还会让半开的闭合；半开时又来者不拒。
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kaguan.carriers.gateway import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLOSED, HALF_OPENED, OPENED = "closed", "half-opened", "opened"


class CircuitOpenError(TransientError):
    """熔断中：没有去问。"""

    code = "circuit_open"


class Breaker:
    """只有 :class:`TransientError` 说明对方病了，只有应答了才说明它好；其余（限流、取消等）什么也不说明。

    Args:
        threshold: 连续失败这么多次就断开。
        cooldown: 断开之后多久半开，秒。
    """

    def __init__(self, threshold: int, cooldown: float) -> None:
        self._threshold = threshold
        self._cooldown = cooldown
        self._state = CLOSED
        self._failures = 0
        self._probing = False
        self._changed: Callable[[str], None] | None = None

    def watch(self, changed: Callable[[str], None]) -> None:
        """状态从此都告诉 ``changed``，先报眼下的。"""
        self._changed = changed
        changed(self._state)

    def refuse_if_open(self) -> None:
        """断开时不必去排限额。

        Raises:
            CircuitOpenError: 还在冷却。
        """
        if self._state == OPENED:
            raise CircuitOpenError("熔断中", self._cooldown)

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """包住一次调用。断开之前放行的，结局不作数；作数的只有闭合时的与试探的。

        Raises:
            CircuitOpenError: 断开着，或半开而已有人在试探。
        """
        probe = self._state == HALF_OPENED
        if self._state == OPENED or (probe and self._probing):
            raise CircuitOpenError("熔断中", self._cooldown)
        self._probing = probe
        try:
            yield
        except TransientError:
            if probe or self._state == CLOSED:
                self._failed()
            raise
        else:
            if probe or self._state == CLOSED:
                self._answered()
        finally:
            if probe:
                self._probing = False

    def _failed(self) -> None:
        self._failures += 1
        if self._state == HALF_OPENED or self._failures >= self._threshold:
            self._become(OPENED)
            asyncio.get_running_loop().call_later(self._cooldown, self._become, HALF_OPENED)

    def _answered(self) -> None:
        self._failures = 0
        if self._state != CLOSED:
            self._become(CLOSED)

    def _become(self, state: str) -> None:
        self._state = state
        if self._changed is not None:
            self._changed(state)
