"""运行中人另定的，worker 这一头：限额，收工。一眼一条语句，管一会儿；到时的自己不作数（docs/adr/0039）。"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from kaguan.database.group_commit import TIMEOUT
from kaguan.database.pool import PASSING_ERRORS, Pool
from kaguan.database.sql import load
from kaguan.flow.background import in_background, passed_on
from kaguan.outbox.vocabulary import LimitScope
from kaguan.words.log import get_logger

log = get_logger(__name__)

PACKAGE = "kaguan.outbox.work"
FRESH = 1.0  # 秒：看一次管这么久
LEAVING = 1.0  # 秒：停机至多 30 秒，前面已用去大半


@dataclass(frozen=True, slots=True)
class Bound:
    """另定的；空着的照配置。``seconds`` 是看的那一刻还管几秒。"""

    scope: str
    name: str
    at_once: int | None
    per_second: int | None
    seconds: float


@dataclass(slots=True)
class Overrides:
    """用到才看。看不成的照上一眼，到时的照样不作数。

    名字是 ``worker`` 的该不该收工也在这里；名字每次启动都不同，同一行管不到重启了的。

    Attributes:
        is_drained: 要它收工。
        anyone_waits: 看的那一刻，有在等名额的。
    """

    pool: Pool
    worker: str = ""
    is_drained: bool = False
    anyone_waits: bool = False
    _bounds: dict[tuple[str, str], tuple[Bound, float]] = field(default_factory=dict)  # 管到何时，事件循环的钟
    _until: float = -math.inf  # 事件循环的钟

    async def of(self, scope: LimitScope) -> dict[str, Bound]:
        """这一类的限额，名字 → 另定的。"""
        now = asyncio.get_running_loop().time()
        if now >= self._until:
            self._until = now + FRESH
            try:
                await self._look(now)
            except PASSING_ERRORS as error:
                log.warning("没能看另定的限额，照上一眼", error=type(error).__name__)
        return {one.name: one for one, until in self._bounds.values() if one.scope == scope and now < until}

    async def _look(self, now: float) -> None:
        async with asyncio.timeout(TIMEOUT), self.pool.connection() as connection:
            found = await (await connection.execute(load(PACKAGE, "overrides"), {"worker": self.worker})).fetchall()
        seen = [Bound(*row) for kind, *row in found if kind == "limit"]
        self._bounds = {(one.scope, one.name): (one, now + one.seconds) for one in seen}
        self.anyone_waits = any(kind == "waiting" for kind, *_ in found)
        for actor, reason in (row[1:3] for row in found if row[0] == "drain" and not self.is_drained):
            self.is_drained = True
            log.info("要它收工：不再取件，做完手里的就走", worker=self.worker, actor=actor, reason=reason)

    async def leave(self) -> None:
        """收完工了：带走那一行，谁也不必记得它。带不走的，一天之后由下一次收工清掉。"""
        if not self.is_drained:
            return
        try:
            async with asyncio.timeout(LEAVING), self.pool.connection() as connection:
                await connection.execute(load(PACKAGE, "drain_over"), {"worker": self.worker})
        except PASSING_ERRORS as error:
            log.warning("收工的那一行没有带走", error=type(error).__name__)


async def one_after_another(start: Callable[[asyncio.Event], Awaitable[None]], stop: asyncio.Event) -> None:
    """``start`` 做到收工或 ``stop``；收了工的，就地另起一个：应用的进程不归我们结束。"""
    while not stop.is_set():
        own = asyncio.Event()
        async with in_background(passed_on(stop, own), "stopping"):
            await start(own)
