"""API 的操作留痕：与操作同一事务。"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kaguan.audit import service as audit
from kaguan.audit.service import AuditEntry

if TYPE_CHECKING:
    from api.endpoints.call import Call


async def audited(call: Call[Any, Any], action: str, target: str | None = None, **detail: object) -> None:
    """记下 ``action``；``detail`` 里不放个人信息与秘密。"""
    entry = AuditEntry(action, target, {**detail, "via": "api"})
    await audit.record(await call.unit.raw(), entry, call.principal, call.request_id)
