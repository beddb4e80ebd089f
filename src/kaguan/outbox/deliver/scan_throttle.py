"""从头看一遍要走过清不掉的死行：走了多久，就歇它的多少倍，其间只看近处（docs/adr/0028）。"""

from __future__ import annotations

import math
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType

from psycopg.errors import QueryCanceled

from kaguan.database.pool import Connection

THRIFT = 50.0  # 合一秒一遍，比轮询快一点；一遍要半秒的，半分钟一遍
NEGLIGIBLE = 0.018  # 秒：再快，也当它花了这么久
PATIENCE = "30s"  # 从头看的语句至多这么久：平常的时限容不下走过几百万死行
UNHURRIED = f"set local statement_timeout = '{PATIENCE}'"


@dataclass(slots=True)
class ScanThrottle:
    """``with`` 里的那一遍成没成都记它用了多久：看不完的也歇，不挡着近处的。

    Attributes:
        thrift: 歇它所花时间的多少倍；0 = 遍遍都看。
        least: 秒；再快，也当它花了这么久。
        is_patient: 平常的时限里看不完过：从此另有时限。
    """

    thrift: float = THRIFT
    least: float = NEGLIGIBLE
    is_patient: bool = False
    _at: float = -math.inf
    _began: float = 0.0

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._at

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.is_patient = self.is_patient or isinstance(error, QueryCanceled)
        now = time.monotonic()
        self._at = now + self.thrift * max(now - self._began, self.least)


@dataclass(slots=True)
class ThrottledScan:
    """``async with`` 里看一遍，给出要不要从头看；平常的时限里看不完过的，从头看的另有时限，在一个事务里。"""

    throttle: ScanThrottle
    connection: Connection
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> bool:
        if not self.throttle.is_due:
            return False
        async with AsyncExitStack() as stack:
            stack.enter_context(self.throttle)
            if self.throttle.is_patient:
                await stack.enter_async_context(self.connection.transaction())
                await self.connection.execute(UNHURRIED)
            self._stack = stack.pop_all()
        return True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)
