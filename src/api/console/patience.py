"""数据库不答时，一页说得出是谁不答，而不是一句「超时」：等到一半先问它一声。"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from api.http.keys import SERVICES
from api.http.probing import PROBES
from kaguan.words.errors import Code, DomainError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiohttp import web

T = TypeVar("T")

ASK_AFTER = 0.5  # 时限的一半还没做完，就去问


async def unless_blind(request: web.Request, work: Coroutine[None, None, T]) -> T:
    """做 ``work``；数据库没有应答就不再等它。

    Raises:
        DomainError: 2002。
    """
    services = request.config_dict[SERVICES]
    limit = services.settings.api.request_timeout
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # 没人等它了，出错也不必再说
    try:
        await asyncio.wait({task}, timeout=limit * ASK_AFTER)
        if not task.done() and not (await request.config_dict[PROBES].database()).up and not task.done():
            raise DomainError(Code.DATABASE_UNAVAILABLE)
        return await task
    finally:
        task.cancel()  # 不等它收尾：断了的网络上它会拖
