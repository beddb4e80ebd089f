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


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """一件要留痕的事。``outcome``：``ok``、``refused``（规则或权限不许）、``failed``（意外）。"""

    action: str
    target: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    outcome: str = "ok"


def refusal(action: str, target: str | None, error: DomainError, **detail: object) -> AuditEntry:
    """被规则或权限拒绝的一件；原因两种语言都记。"""
    reasons = {"reason": error.text("zh"), "reason_en": error.text("en")}
    return AuditEntry(action, target, {"code": int(error.code), **reasons, **detail}, "refused")


async def record(connection: Connection, entry: AuditEntry, principal: Principal | None, request_id: str) -> None:
    """写一行审计；与操作同一事务，操作回滚它也不在。``principal`` 为 None 即还没认出是谁。"""
    actor = "anonymous" if principal is None else principal.name
    await store.insert(connection, entry, actor, None if principal is None else principal.id, request_id)
    log.info("操作留痕", action=entry.action, target=entry.target, actor=actor, outcome=entry.outcome)
