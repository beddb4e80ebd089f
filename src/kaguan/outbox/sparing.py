"""从头看一遍要走过清不掉的死行：走了多久，就歇它的多少倍，其间只看近处（docs/adr/0028）。"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

THRIFT = 50.0  # 合一秒一遍；一遍要半秒的，半分钟一遍
NEGLIGIBLE = 0.02  # 秒：再快，也当它花了这么久


@dataclass(slots=True)
class Sparing:
    """``with`` 里是从头看的那一遍；``thrift`` 是歇它所花时间的多少倍，0 = 遍遍都从头看。"""

    thrift: float = THRIFT
    _at: float = -math.inf
    _began: float = 0.0

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._at

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        now = time.monotonic()
        if kind is None:  # 没看成的不算
            self._at = now + self.thrift * max(now - self._began, NEGLIGIBLE)
