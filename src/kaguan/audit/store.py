"""审计的 SQL。连接由调用方给，从不提交。"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from psycopg.types.json import Jsonb

from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.logging.masking import mask, mask_value

PACKAGE = "kaguan.audit"
ANONYMOUS_DAYS = 7  # 没认出是谁的拒绝：谁都能造出来


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """一件要留痕的事。``outcome``：``ok``、``refused``（规则或权限不许）、``failed``（意外）。"""

    action: str
    target: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    outcome: str = "ok"


async def insert(connection: Connection, entry: AuditEntry, actor: str, token_id: int | None, request_id: str) -> None:
    """对象与细节里也许有人粘进来的秘密（按错误原因重放、按名字吊销）：盖住再存。"""
    parameters = {
        "actor": actor,
        "token_id": token_id,
        "action": entry.action,
        "target": None if entry.target is None else mask(entry.target),
        "detail": Jsonb(mask_value(entry.detail)),
        "request_id": request_id,
        "outcome": entry.outcome,
    }
    await connection.execute(load(PACKAGE, "record"), parameters)


async def expire(connection: Connection, limit: int, *, days: int) -> int:
    """删去一批过期的审计；没认出是谁的拒绝只留 :data:`ANONYMOUS_DAYS` 天。返回行数。"""
    parameters = {"days": days, "anonymous_days": ANONYMOUS_DAYS, "limit": limit}
    cursor = await connection.execute(load(PACKAGE, "expire"), parameters)
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])
