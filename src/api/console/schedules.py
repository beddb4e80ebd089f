"""定时计划：现状，启用与停用。"""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.console.serve import Done
from kaguan.audit.service import AuditEntry
from kaguan.outbox.schedules import service

if TYPE_CHECKING:
    from aiohttp import web

    from api.console.console_request import ConsoleRequest
    from api.console.serve import Order

PATH = "/console/schedules"


async def schedules(console: ConsoleRequest) -> web.Response:
    async with console.services.pool.connection() as connection:
        rows = await service.overview(connection, console.services.settings.schedules)
    return console.render("schedules.html", rows=rows)


async def enable(order: Order) -> Done:
    return await _switch(order, enabled=True)


async def disable(order: Order) -> Done:
    return await _switch(order, enabled=False)


async def _switch(order: Order, *, enabled: bool) -> Done:
    name = order.path["name"]
    await service.switch(order.connection, order.console.services.settings.schedules, name, enabled=enabled)
    word = "enable" if enabled else "disable"
    return Done(AuditEntry(f"schedule.{word}", name, {"via": "console"}), f"schedule_{word}d", PATH)
