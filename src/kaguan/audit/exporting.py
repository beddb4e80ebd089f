"""审计整个写出来：一页一页地取，每页另借一次连接；不是一个时刻的照片。"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import orjson

from kaguan.audit import reading
from kaguan.audit.reading import AuditFilter, AuditRow
from kaguan.database.pool import Connection

PAGE = 500  # 行；一次取这么多
COLUMNS = ("id", "at", "actor", "action", "target", "outcome", "request_id", "detail")

Borrow: TypeAlias = Callable[[], AbstractAsyncContextManager[Connection]]


async def entries(borrow: Borrow, where: AuditFilter) -> AsyncIterator[Sequence[AuditRow]]:
    """符合 ``where`` 的，新的在前。"""
    before = None
    while True:
        async with borrow() as connection:
            rows, before = await reading.page(connection, where, PAGE, before)
        yield rows
        if before is None:
            return


def as_text(detail: Mapping[str, Any]) -> str:
    """细节写进一格：JSON。"""
    return orjson.dumps(detail, default=str).decode()
