"""暂停：relay 这一头。停着的行搁到暂停结束，写明停在哪里；提前恢复了的，一批批放行（docs/adr/0039）。"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from psycopg.rows import class_row

from kaguan.database.pool import Connection, Pool
from kaguan.database.sql import load
from kaguan.outbox.vocabulary import PauseScope
from kaguan.words.log import get_logger

if TYPE_CHECKING:  # 看一眼任务的命令也经过这里，不必导入 Redis
    from kaguan.outbox.deliver.deliveries import Due
    from kaguan.outbox.metrics import Metrics

log = get_logger(__name__)

PACKAGE = "kaguan.outbox.deliver"
BATCH = 1_000
CAP = 100_000  # 数到这里为止


@dataclass(frozen=True, slots=True)
class Held:
    """停在一处的：几个（封顶），最久的停了几秒。

    ``scope`` 空着，那一处提前恢复了；过了期的不 ``live``，停着的自己到期，不必放行。
    """

    id: UUID
    scope: str | None
    live: bool
    waiting: int
    oldest: float | None


async def hold(connection: Connection, rows: Sequence[Due]) -> None:
    """搁到各自的暂停结束；行都由这个事务锁着。"""
    parameters = {
        "task_ids": [row.task_id for row in rows],
        "pauses": [row.pause for row in rows],
        "untils": [row.paused_until for row in rows],
    }
    await connection.execute(load(PACKAGE, "hold"), parameters)


async def held(connection: Connection, cap: int = CAP) -> list[Held]:
    """各处停着几个，提前恢复了而还没有放行完的也在。"""
    async with connection.cursor(row_factory=class_row(Held)) as cursor:
        await cursor.execute(load(PACKAGE, "paused"), {"cap": cap})
        return await cursor.fetchall()


async def let_go(connection: Connection, pause: UUID, limit: int = BATCH) -> None:
    """停在 ``pause`` 的放行一批。"""
    await connection.execute(load(PACKAGE, "let_go"), {"pause": pause, "limit": limit})


@dataclass(frozen=True, slots=True)
class Releasing:
    """提前恢复了的一批批放行，停着的写进量表：它们的年龄自成一栏，不算积压的。"""

    pool: Pool
    metrics: Metrics
    batch: int = BATCH

    async def run_once(self) -> int:
        """放行一批；返回放的是几个。"""
        async with self.pool.connection() as connection:
            found = await held(connection)
            gone = next((one for one in found if one.scope is None), None)
            if gone is not None:
                await let_go(connection, gone.id, self.batch)
        waiting: defaultdict[str, int] = defaultdict(int)
        oldest: defaultdict[str, float] = defaultdict(float)
        for one in found:
            if one.live and one.scope is not None:
                waiting[one.scope] += one.waiting
                oldest[one.scope] = max(oldest[one.scope], one.oldest or 0.0)
        for scope in PauseScope:
            self.metrics.paused.labels(scope).set(waiting[scope])
            self.metrics.paused_oldest.labels(scope).set(oldest[scope])
        if gone is None:
            return 0
        log.info("暂停恢复了，放行停着的", pause=str(gone.id), count=min(gone.waiting, self.batch))
        return min(gone.waiting, self.batch)
