"""在用例旁边一直做的事。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from kaguan.flow.background import stopped
from tests.support.eventually import PATIENCE


@asynccontextmanager
async def alongside(
    work: Coroutine[Any, Any, object], name: str, stop: asyncio.Event | None = None
) -> AsyncIterator[None]:
    """在后台做 ``work``，离开时取消；它半途出的错在离开时抛出，不悄悄停下。

    给了 ``stop``，先体面地叫停：一再取消的 worker 来不及等它的取件，晚到的连接就没有人关了。
    """
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        if stop is not None:
            stop.set()
            await asyncio.wait({task}, timeout=PATIENCE)
        await stopped(task)
        if not task.cancelled():
            task.result()
