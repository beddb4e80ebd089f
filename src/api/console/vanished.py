"""不见了的任务：答应过，PostgreSQL 却丢了受理的那一笔；名单与怎么办。"""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from api.console.console_request import ConsoleRequest
from api.endpoints.binding import UUID_TEXT
from kaguan.outbox.recover import vanished

PATH = "/console/vanished"
PAGE = 50


async def vanished_tasks(console: ConsoleRequest) -> web.Response:
    cursor = console.request.query.get("cursor", "")
    after = UUID(cursor) if UUID_TEXT.fullmatch(cursor) else None
    async with console.services.pool.connection() as connection:
        page = await vanished.page(connection, PAGE, after)
    older = None if page.older is None else f"{PATH}?cursor={page.older}"
    return console.render("vanished.html", rows=page.rows, paged=after is not None, newest=PATH, older=older)
