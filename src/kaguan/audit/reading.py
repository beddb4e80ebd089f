"""查审计：条件、一页、往回看到哪里。"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg.rows import class_row

from kaguan.audit.store import PACKAGE
from kaguan.database.paging import BIGINT_MAX, Position
from kaguan.database.pool import Connection
from kaguan.database.sql import load

SCAN = 20_000  # 带条件找审计时至多往回看这么多行
NAME_MAX = 100  # 字；条件里的名字、对象
EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """tb_audit 的一行。"""

    id: int
    at: datetime
    actor: str
    action: str
    target: str | None
    detail: dict[str, Any]
    request_id: str | None
    outcome: str


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """要哪些；``target`` 是对象里的一段字，``since`` 含、``until`` 不含。"""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def picky(self) -> bool:
        """另有索引帮不上的条件。"""
        return bool(self.actor or self.action or self.target)


async def page(
    connection: Connection, where: AuditFilter, limit: int, before: Position | None = None
) -> tuple[list[AuditRow], Position | None]:
    """新的在前，与接着往回看的地方；到头了是 None。看了 :data:`SCAN` 行还不够一页的，也从那里接着看。"""
    start, edge = where.until or LATEST, 0
    if before is not None and before.at is not None and before.at < start:
        start, edge = before.at, before.id
    elif where.until is None:
        edge = BIGINT_MAX
    parameters = {
        "actor": where.actor,
        "action": where.action,
        "target": where.target,
        "since": where.since or EARLIEST,
        "before_at": start,
        "before_id": edge,
        "scan": SCAN if where.picky else limit + 1,
        "limit": limit + 1,
    }
    async with connection.cursor(row_factory=class_row(AuditRow)) as cursor:
        await cursor.execute(load(PACKAGE, "page"), parameters)
        rows = await cursor.fetchall()
    if len(rows) > limit:
        return rows[:limit], Position(rows[limit - 1].id, rows[limit - 1].at)
    if not where.picky:
        return rows, None
    found = await (await connection.execute(load(PACKAGE, "scanned"), parameters)).fetchone()
    return rows, None if found is None else Position(found[0], found[1])
