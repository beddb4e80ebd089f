"""限额：worker 这一头。看一眼管一会儿；到时的自己不作数，不必谁来结束它（docs/adr/0039）。"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

from psycopg.rows import class_row

from kaguan.database.group_commit import TIMEOUT
from kaguan.database.pool import PASSING_ERRORS, Pool
from kaguan.database.sql import load
from kaguan.outbox.vocabulary import LimitScope
from kaguan.words.log import get_logger

log = get_logger(__name__)

PACKAGE = "kaguan.outbox.work"
FRESH = 1.0  # 秒：看一次管这么久


@dataclass(frozen=True, slots=True)
class Bound:
    """另定的；空着的照配置。``seconds`` 是看的那一刻还管几秒。"""

    scope: str
    name: str
    at_once: int | None
    per_second: int | None
    seconds: float


@dataclass(slots=True)
class Bounds:
    """此刻另定了的限额；用到才看。看不成的照上一眼，到时的照样不作数。"""

    pool: Pool
    _bounds: dict[tuple[str, str], tuple[Bound, float]] = field(default_factory=dict)  # 管到何时，事件循环的钟
    _until: float = -math.inf  # 事件循环的钟

    async def of(self, scope: LimitScope) -> dict[str, Bound]:
        """这一类的，名字 → 另定的。"""
        now = asyncio.get_running_loop().time()
        if now >= self._until:
            self._until = now + FRESH
            try:
                async with (
                    asyncio.timeout(TIMEOUT),
                    self.pool.connection() as connection,
                    connection.cursor(row_factory=class_row(Bound)) as cursor,
                ):
                    await cursor.execute(load(PACKAGE, "limits_now"))
                    found = await cursor.fetchall()
                self._bounds = {(one.scope, one.name): (one, now + one.seconds) for one in found}
            except PASSING_ERRORS as error:
                log.warning("没能看另定的限额，照上一眼", error=type(error).__name__)
        return {one.name: one for one, until in self._bounds.values() if one.scope == scope and now < until}
