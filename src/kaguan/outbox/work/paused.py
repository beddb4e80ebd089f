"""暂停：worker 这一头。停着的交出了也认领不到，回发件箱等；停在外面的一家的，去它那里的时候让位（docs/adr/0039）。"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import UUID

from psycopg.rows import class_row

from kaguan.database.group_commit import TIMEOUT
from kaguan.database.pool import PASSING_ERRORS, Pool
from kaguan.database.sql import load
from kaguan.words.log import get_logger

log = get_logger(__name__)

PACKAGE = "kaguan.outbox.work"
FRESH = 0.5  # 秒：看一次管这么久


async def set_back(pool: Pool, missed: Collection[tuple[UUID, int]]) -> int:
    """没认领到的里面停着的，放回发件箱；返回几个。没放成的由核对收回。"""
    parameters = {
        "task_ids": [task_id for task_id, _ in missed],
        "deliveries": [delivery for _, delivery in missed],
    }
    try:
        async with asyncio.timeout(TIMEOUT), pool.connection() as connection:
            row = await (await connection.execute(load(PACKAGE, "set_back"), parameters)).fetchone()
    except PASSING_ERRORS as error:
        log.warning("没能放回停着的，由核对收回", count=len(missed), error=type(error).__name__)
        return 0
    count = 0 if row is None else int(row[0])
    if count:
        log.info("停着的不认领，放回发件箱", count=count)
    return count


@dataclass(frozen=True, slots=True)
class PausedOutside:
    """停着的一家：还停几秒，为什么。"""

    name: str
    id: UUID
    reason: str
    seconds: float


@dataclass(slots=True)
class Outside:
    """停在哪几家外面的；用到才看，看一次管 :data:`FRESH` 秒。看不成的照上一眼：PostgreSQL 不在，做了也结算不了。"""

    pool: Pool
    _named: dict[str, PausedOutside] = field(default_factory=dict)
    _until: float = -math.inf  # 事件循环的钟

    async def paused(self, whom: str) -> PausedOutside | None:
        now = asyncio.get_running_loop().time()
        if now >= self._until:
            try:
                async with (
                    asyncio.timeout(TIMEOUT),
                    self.pool.connection() as connection,
                    connection.cursor(row_factory=class_row(PausedOutside)) as cursor,
                ):
                    await cursor.execute(load(PACKAGE, "paused_outside"))
                    self._named = {one.name: one for one in await cursor.fetchall()}
            except PASSING_ERRORS as error:
                log.warning("没能看停在哪几家外面，照上一眼", error=type(error).__name__)
            self._until = now + FRESH
        return self._named.get(whom)
