"""定时计划：现状，启用与停用。"""

from __future__ import annotations

from aiohttp import web

from api.console.console_request import ConsoleRequest
from api.console.serve import ActionResult, FormSubmission
from kaguan.audit.store import AuditEntry
from kaguan.outbox.schedule import service

PATH = "/console/schedules"


async def schedules(console: ConsoleRequest) -> web.Response:
    async with console.services.pool.connection() as connection:
        rows = await service.overview(connection, console.services.settings.schedules)
    return console.render("schedules.html", rows=rows)


async def enable(submission: FormSubmission) -> ActionResult:
    return await _switch(submission, enabled=True)


async def disable(submission: FormSubmission) -> ActionResult:
    return await _switch(submission, enabled=False)


async def _switch(submission: FormSubmission, *, enabled: bool) -> ActionResult:
    name = submission.path["name"]
    await service.switch(submission.connection, submission.console.services.settings.schedules, name, enabled=enabled)
    word = "enable" if enabled else "disable"
    return ActionResult(AuditEntry(f"schedule.{word}", name, {"via": "console"}), f"schedule_{word}d", PATH)
