"""在用例旁边一直做的事。"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from kaguan.background import stopped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine


@asynccontextmanager
async def alongside(work: Coroutine[Any, Any, object], name: str) -> AsyncIterator[None]:
    """在后台做 ``work``，离开时取消；它半途出的错在离开时抛出，不悄悄停下。"""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        await stopped(task)
        if not task.cancelled():
            task.result()
