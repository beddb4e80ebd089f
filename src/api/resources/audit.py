"""API 的操作留痕：与操作同一事务。"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kaguan.console import service
from kaguan.console.service import Deed

if TYPE_CHECKING:
    from api.endpoints.call import Call


async def audited(call: Call[Any, Any], action: str, target: str | None = None, **detail: object) -> None:
    """记下 ``action``；``detail`` 里不放个人信息与秘密。"""
    deed = Deed(action, target, {**detail, "via": "api"})
    await service.record(await call.unit.raw(), deed, call.principal, call.request_id)
