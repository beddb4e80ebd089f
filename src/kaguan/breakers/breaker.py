"""断路器：连续失败就断开，冷却之后半开、一次只放一个试探。运营商与中继主机共用。

现成的库（purgatory）把「不计入的」当作成功：限流、取消会清零失败数，还会让半开的闭合；半开时又来者不拒。
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from kaguan.flow.backoff import jitter
from kaguan.words.reasons import NOTHING, Reason, ReasonError

CLOSED, HALF_OPENED, OPENED = "closed", "half-opened", "opened"
JITTER = 0.2  # 冷却期另加至多这么多成：同时断开的各进程不在同一刻去试探


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """断路器此刻的样子。

    Attributes:
        state: ``closed``、``half-opened`` 或 ``opened``。
        since: 从何时起没有闭合过；闭合着是 ``None``。
        cause: 最近一次失败的缘由，不含凭据与地址；没有失败过是空。
    """

    state: str = CLOSED
    since: datetime | None = None
    cause: Reason = NOTHING


class Breaker:
    """只有 ``sick`` 说明对方病了，只有应答了才说明它好；其余（限流、取消等）什么也不说明。

    Args:
        threshold: 连续失败这么多次就断开。
        cooldown: 断开之后多久半开，秒。
        sick: 说明对方病了的异常。
        refusal: 断开时抛什么；参数是此刻的样子与建议多久之后再来（秒）。
    """

    def __init__(
        self,
        threshold: int,
        cooldown: float,
        sick: tuple[type[Exception], ...],
        refusal: Callable[[BreakerStatus, float], Exception],
    ) -> None:
        self._threshold = threshold
        self._cooldown = cooldown
        self._sick = sick
        self._refusal = refusal
        self._status = BreakerStatus()
        self._failures = 0
        self._probing = False
        self._changed: Callable[[BreakerStatus], None] | None = None

    @property
    def status(self) -> BreakerStatus:
        return self._status

    @property
    def failing(self) -> bool:
        """最近一次作数的结局是失败，而此刻可以去试：再试一次就知道它好了没有。"""
        return self._failures > 0 and self._status.state != OPENED and not self._probing

    def watch(self, changed: Callable[[BreakerStatus], None]) -> None:
        """状态从此都告诉 ``changed``，先报眼下的。"""
        self._changed = changed
        changed(self._status)

    def refuse_if_open(self) -> None:
        """试不得的时候不必准备，也不必去排限额。

        Raises:
            Exception: ``refusal`` 给的那个：还在冷却，或有人正在试探。
        """
        if self._status.state == OPENED or self._probing:
            raise self._refusal(self._status, self._cooldown)

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """包住一次调用。其间状态换过的，结局不作数：那是断开之前放行的，说的是从前。

        Raises:
            Exception: ``refusal`` 给的那个：断开着，或半开而已有人在试探。
        """
        self.refuse_if_open()
        admitted = self._status
        self._probing = probe = admitted.state == HALF_OPENED
        try:
            yield
        except self._sick as error:
            if self._status is admitted:
                self._failed(error.reason if isinstance(error, ReasonError) else Reason.of(str(error)))
            raise
        else:
            if self._status is admitted:
                self._answered()
        finally:
            if probe:
                self._probing = False

    def _failed(self, cause: Reason) -> None:
        self._failures += 1
        since = self._status.since or datetime.now(UTC)
        if self._status.state == HALF_OPENED or self._failures >= self._threshold:
            self._become(BreakerStatus(OPENED, since, cause))
            pause = self._cooldown * jitter(1, 1 + JITTER)
            asyncio.get_running_loop().call_later(pause, self._half_open)

    def _half_open(self) -> None:
        self._become(BreakerStatus(HALF_OPENED, self._status.since, self._status.cause))

    def _answered(self) -> None:
        self._failures = 0
        if self._status.state != CLOSED:
            self._become(BreakerStatus())

    def _become(self, status: BreakerStatus) -> None:
        self._status = status
        if self._changed is not None:
            self._changed(status)
