"""worker：要总览上的一个收工。"""

from __future__ import annotations

from api.console.serve import ActionResult, FormSubmission
from kaguan.audit.actions import DRAIN
from kaguan.audit.store import AuditEntry
from kaguan.outbox.operate import drains
from kaguan.verdict.observation import census_in_time

PATH = "/console/workers"
BACK = "/#workers"


async def drain(submission: FormSubmission) -> ActionResult:
    form, services = submission.form, submission.console.services
    census = await census_in_time(services.redis, services.patience.redis)
    made = await drains.drain(
        submission.connection,
        census,
        form.get("worker", ""),
        form.get("reason", ""),
        submission.actor,
        submission.after_commit,
    )
    return ActionResult(AuditEntry(DRAIN, made.worker, {"reason": made.reason, "via": "console"}), "draining", BACK)
