"""历史：什么时候红过、红了多久。结束了的留着，至多 :data:`MOST` 件，到保留期为止。"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row

from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.verdict.memory import KNOWN, PACKAGE
from kaguan.verdict.model import Concern, ConcernCode, Level

MOST = 20_000  # 件
NEWEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Episode:
    """一件事的始末。

    Attributes:
        level: 最重的时候；``parameters`` 是最后看见的。
        since: 从何时起，能从数据看出的就照数据；``first_seen`` 是何时看见。
        ended_at: 最后看见的时刻；还没有结束就没有。
        told_at: 何时告诉过人它有这么重；``cleared_at`` 是何时告诉过它没了。
    """

    id: int
    code: str
    subject: str
    level: Level
    parameters: Mapping[str, Any]
    since: datetime
    first_seen: datetime
    last_seen: datetime
    ended_at: datetime | None
    told_at: datetime | None
    cleared_at: datetime | None

    @property
    def concern(self) -> Concern:
        return Concern(ConcernCode(self.code), Level(self.level), self.subject, self.parameters, self.since)

    @property
    def seconds(self) -> float:
        """说得准的那一段：到最后看见为止。"""
        return max(0.0, (self.last_seen - self.since).total_seconds())


async def page(
    connection: Connection,
    limit: int,
    before: int = NEWEST,
    since: datetime | None = None,
    until: datetime | None = None,
    code: ConcernCode | None = None,
) -> list[Episode]:
    """碰到 ``since`` 与 ``until`` 之间的，新的在前；``before`` 是上一页最后一件的 id。"""
    asked = {
        "before": before,
        "since": since,
        "until": until,
        "codes": sorted(KNOWN) if code is None else [code],
        "limit": limit,
    }
    async with connection.cursor(row_factory=class_row(Episode)) as cursor:
        await cursor.execute(load(PACKAGE, "history"), asked)
        return await cursor.fetchall()


async def expire(connection: Connection, limit: int, *, days: int, most: int = MOST) -> int:
    """删去一批太旧的、多于上限的；返回几件。"""
    asked = {"days": days, "most": most, "limit": limit}
    return (await connection.execute(load(PACKAGE, "expire_history"), asked)).rowcount
