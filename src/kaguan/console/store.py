"""会话与审计的 SQL。连接由调用方给，从不提交。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from kaguan.database.sql import load

if TYPE_CHECKING:
    from datetime import datetime

    from kaguan.console.service import Deed
    from kaguan.database.pool import Connection

PACKAGE = "kaguan.console"
AUDIT_SCAN = 20_000  # 带条件找审计时至多往回看这么多行
NEWEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class SessionRow:
    """会话与它背后的令牌。"""

    token_id: int
    name: str
    scopes: list[str]
    csrf: str
    idle_seconds: float


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


async def insert_session(connection: Connection, key: bytes, token_id: int, csrf: str, lifetime: float) -> None:
    """``lifetime`` 秒之后无论如何都过期。"""
    parameters = {"id": key, "token_id": token_id, "csrf": csrf, "lifetime": lifetime}
    await connection.execute(load(PACKAGE, "session_open"), parameters)


async def find_session(connection: Connection, key: bytes, idle: float) -> SessionRow | None:
    async with connection.cursor(row_factory=class_row(SessionRow)) as cursor:
        await cursor.execute(load(PACKAGE, "session_find"), {"id": key, "idle": idle})
        return await cursor.fetchone()


async def touch_session(connection: Connection, key: bytes) -> None:
    await connection.execute(load(PACKAGE, "session_touch"), {"id": key})


async def delete_session(connection: Connection, key: bytes) -> None:
    await connection.execute(load(PACKAGE, "session_close"), {"id": key})


async def insert_audit(connection: Connection, deed: Deed, actor: str, token_id: int | None, request_id: str) -> None:
    parameters = {
        "actor": actor, "token_id": token_id, "action": deed.action, "target": deed.target,
        "detail": Jsonb(deed.detail), "request_id": request_id, "outcome": deed.outcome,
    }  # fmt: skip
    await connection.execute(load(PACKAGE, "audit_record"), parameters)


async def audit_page(
    connection: Connection, limit: int, before: int = NEWEST, actor: str | None = None, action: str | None = None
) -> list[AuditRow]:
    """新的在前；``before`` 是上一页最后一行的 id。"""
    parameters = {"before": before, "actor": actor, "action": action, "scan": AUDIT_SCAN, "limit": limit}
    async with connection.cursor(row_factory=class_row(AuditRow)) as cursor:
        await cursor.execute(load(PACKAGE, "audit_page"), parameters)
        return await cursor.fetchall()


async def expire_audit(connection: Connection, days: int, anonymous_days: int, limit: int) -> int:
    """删去一批过期的审计；没认出是谁的拒绝只留 ``anonymous_days`` 天。返回行数。"""
    parameters = {"days": days, "anonymous_days": anonymous_days, "limit": limit}
    cursor = await connection.execute(load(PACKAGE, "expire_audit"), parameters)
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])
