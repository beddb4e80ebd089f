"""API 的操作留痕：与操作同一事务。"""

from __future__ import annotations

from typing import Any, TypeVar

from api.endpoints.call import Call
from api.endpoints.patch import PatchModel
from kaguan.audit import service as audit
from kaguan.audit.store import AuditEntry

Patch = TypeVar("Patch", bound=PatchModel)


async def audited(call: Call[Any, Any], action: str, target: str | None = None, **detail: object) -> None:
    """记下 ``action``；``detail`` 里不放个人信息与秘密。"""
    entry = AuditEntry(action, target, {**detail, "via": "api"})
    await audit.record(await call.unit.raw(), entry, call.principal, call.request_id, call.unit.after_commit)


async def audited_change(call: Call[Patch, None], action: str, target: str, version: int) -> None:
    """改了一个实体：只记改了哪些字段、改成了第几版，不记改成了什么。"""
    await audited(call, action, target, fields=sorted(call.body.model_fields_set), version=version)
