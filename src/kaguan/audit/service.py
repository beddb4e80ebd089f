"""操作审计：一件事一行，与操作同一事务；何时提交由调用者定。"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from kaguan.audit import store

if TYPE_CHECKING:
    from kaguan.database.pool import Connection
    from kaguan.errors import DomainError
    from kaguan.tokens.service import Principal

log = structlog.get_logger(__name__)

MAX_TEXT = 200  # 字符；任务号、计划名都短得多


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """一件要留痕的事。``outcome``：``ok``、``refused``（规则或权限不许）、``failed``（意外）。"""

    action: str
    target: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    outcome: str = "ok"


def refusal(action: str, target: str | None, error: DomainError, **detail: str) -> AuditEntry:
    """被规则或权限拒绝的一件；原因两种语言都记。``target`` 与 ``detail`` 可以是地址里没有核对过的文字。"""
    reasons = {"reason": error.text("zh"), "reason_en": error.text("en")}
    told = {name: _storable(text) for name, text in detail.items()}
    return AuditEntry(
        action, None if target is None else _storable(target), {"code": int(error.code), **reasons, **told}, "refused"
    )


def _storable(text: str) -> str:
    """PostgreSQL 存不下 NUL：写成转义，留痕不该因此落空；太长的截短。"""
    return text[:MAX_TEXT].replace("\x00", "\\0")


async def record(connection: Connection, entry: AuditEntry, principal: Principal | None, request_id: str) -> None:
    """写一行审计；与操作同一事务，操作回滚它也不在。``principal`` 为 None 即还没认出是谁。"""
    actor = "anonymous" if principal is None else principal.name
    await store.insert(connection, entry, actor, None if principal is None else principal.id, request_id)
    log.info("操作留痕", action=entry.action, target=entry.target, actor=actor, outcome=entry.outcome)
