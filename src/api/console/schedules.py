"""定时计划：现状，启用与停用。"""

from __future__ import annotations

from aiohttp import web

from api.console.console_request import ConsoleRequest
from api.console.serve import ActionResult, FormSubmission
from kaguan.audit.actions import SCHEDULE_RUN
from kaguan.audit.store import AuditEntry
from kaguan.outbox.schedule import history, service
from kaguan.outbox.task_type import TaskTypes
from kaguan.product.task_types import TASK_TYPES

PATH = "/console/schedules"


async def schedules(console: ConsoleRequest) -> web.Response:
    async with console.services.pool.connection() as connection:
        configured = console.services.settings.schedules
        rows = await service.overview(connection, configured)
        told = {row["name"]: await history.history(connection, configured, row["name"]) for row in rows}
    return console.render("schedules.html", rows=rows, told=told)


async def run(submission: FormSubmission) -> ActionResult:
    services, name = submission.console.services, submission.path["name"]
    _, accepted = await history.run_now(
        submission.connection,
        services.settings.schedules,
        TaskTypes(TASK_TYPES),
        name,
        max_attempts=services.settings.tasks.max_attempts,
        after_commit=submission.after_commit,
        count=services.metrics.count_accepted,
    )
    entry = AuditEntry(SCHEDULE_RUN, name, {"task_id": str(accepted.task_id), "via": "console"})
    return ActionResult(entry, "schedule_run", PATH, ring=True)


async def enable(submission: FormSubmission) -> ActionResult:
    return await _switch(submission, enabled=True)


async def disable(submission: FormSubmission) -> ActionResult:
    return await _switch(submission, enabled=False)


async def _switch(submission: FormSubmission, *, enabled: bool) -> ActionResult:
    name = submission.path["name"]
    await service.switch(submission.connection, submission.console.services.settings.schedules, name, enabled=enabled)
    word = "enable" if enabled else "disable"
    return ActionResult(AuditEntry(f"schedule.{word}", name, {"via": "console"}), f"schedule_{word}d", PATH)
