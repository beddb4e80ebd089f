"""保留期：默认就开着，小批删除，不让表长成千万行。"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

from psycopg.sql import SQL, Identifier

from kaguan.config.model import Tasks
from kaguan.database.pool import Connection, Pool
from kaguan.database.sql import load
from kaguan.outbox.operate.compaction import BRIEF, Compaction
from kaguan.outbox.order import ordering
from kaguan.outbox.recover import vanished
from kaguan.outbox.vocabulary import FIRST_ID
from kaguan.words.log import get_logger

PACKAGE = "kaguan.outbox.operate"

log = get_logger(__name__)

BATCH = 1_000
REST = 4.0  # 还有的，歇上一批所花时间的这么多倍再来：删得比来得快十倍不止，不必与受理、认领争

# 删去过期的一批，至多给定的个数；返回删了几行
Expiry: TypeAlias = Callable[[Connection, int], Awaitable[int]]


@dataclass(slots=True)
class Retention:
    """``rows`` 是随任务一同过期的附属表；``others`` 是协议之外也归保留期管的，名字进日志；``batch`` 是一批至多几行。

    ``period``：都清完了，隔几秒再看；``brief``：挪空处的一条语句至多这么久。
    """

    pool: Pool
    config: Tasks
    rows: tuple[str, ...] = ()
    others: Mapping[str, Expiry] = field(default_factory=dict)
    batch: int = BATCH
    period: float = 60.0
    brief: str = BRIEF
    _rest: float | None = None  # 还有的：秒
    _since: UUID = FIRST_ID  # 接着上一批往后看，不再走过删去的：死行也许还清不掉
    _compaction: Compaction = field(init=False)

    def __post_init__(self) -> None:
        self._compaction = Compaction(self.batch, timeout=self.brief)

    async def run_once(self) -> int:
        """清一批；返回删去的行数。"""
        began = time.monotonic()
        days = self.config.retention_days
        async with self.pool.connection() as connection:
            count, last = await expire_tasks(connection, days, self.batch, self.rows, self._since)
            self._since = last or FIRST_ID
            gone = {"tasks": count, "ordering_keys": await ordering.expire(connection, days, self.batch)}
            # 走势用的时时都有，不进日志
            ended = (await connection.execute(load(PACKAGE, "expire_ended"), {"limit": self.batch})).rowcount
            gone["vanished"] = await vanished.expire(connection, days, self.batch)
            for name, expire in self.others.items():
                gone[name] = await expire(connection, self.batch)
            more = last is not None or any(rows >= self.batch for rows in (ended, *gone.values()))
            self._compaction.gone += count
            more = more or await self._compaction.run_once(connection)
        self._rest = REST * (time.monotonic() - began) if more else None
        total = sum(gone.values())
        if total:
            log.info("清理过期记录", **gone)
        return total

    def interval(self) -> float:
        """隔几秒再来一批。"""
        return self.period if self._rest is None else min(self._rest, self.period)


async def expire_tasks(
    connection: Connection, days: int, limit: int, rows: Sequence[str], since: UUID
) -> tuple[int, UUID | None]:
    """沿号从 ``since`` 往后看 ``limit`` 个，删去结束超过 ``days`` 天的，连同 ``rows`` 各表里它们的附属行。

    Returns:
        删了几个任务，与下一页的起点（看到头了是 None）。
    """
    async with connection.transaction():
        parameters = {"days": days, "limit": limit, "since": since}
        cursor = await connection.execute(load(PACKAGE, "expire_tasks"), parameters)
        last, gone = await cursor.fetchone() or (None, [])
        if gone:
            for table in rows:
                statement = SQL("delete from {} where task_id = any(%s)").format(Identifier(table))
                await connection.execute(statement, (gone,))
    return len(gone), last
