"""暂停：此刻停着什么、停一处、恢复一处。"""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlencode
from uuid import UUID

from aiohttp import web

from api.console import limits
from api.console.console_request import BACK, ConsoleRequest
from api.console.serve import ActionResult, FormSubmission, number_of
from api.endpoints.binding import UUID_TEXT
from kaguan.audit.actions import PAUSE, RESUME
from kaguan.audit.store import AuditEntry
from kaguan.outbox.errors import PauseNotFoundError
from kaguan.outbox.operate.lasting import LONGEST, LONGEST_NAME
from kaguan.outbox.operate.pauses import MOST, Pausing, pause, pauses, resume
from kaguan.outbox.vocabulary import NOTE_LENGTH, PauseScope
from kaguan.product.pausable import unknown
from kaguan.words.errors import Code, DomainError, conflict, refused
from kaguan.words.reasons import Reason
from kaguan.words.units import MINUTE

PATH = "/console/pauses"
FOR = (15, 60, 240, 1_440)  # 分钟：常停这么久
MOST_MINUTES = LONGEST // MINUTE


async def pause_list(console: ConsoleRequest) -> web.Response:
    query = console.request.query
    scope = query.get("scope", "")
    async with console.services.pool.connection() as connection:
        rows, types = await pauses(connection), await console.site.types(connection)
        bounded = await limits.context(console, connection, types)
    return console.render(
        "pauses.html",
        rows=rows,
        types=types,
        scopes=list(PauseScope),
        lasting=FOR,
        most_minutes=MOST_MINUTES,
        scope=scope if scope in set(PauseScope) else PauseScope.TYPE,
        name=query.get("name", "")[:LONGEST_NAME],
        limit=query.get("limit", ""),
        reason=query.get("reason", ""),
        name_length=LONGEST_NAME,
        note_length=NOTE_LENGTH,
        **bounded,
    )


async def hold(submission: FormSubmission) -> ActionResult:
    written = {name: submission.form.get(name, "") for name in ("scope", "name", "reason")}
    submission.console.request[BACK] = f"{PATH}?{urlencode(written)}#reason"  # 被拒了回去，选好的还在
    wanted = _wanted(submission)
    made = await pause(submission.connection, wanted, submission.actor, submission.after_commit)
    if made is None:
        raise conflict("pauses", f"至多同时停 {MOST} 处", f"at most {MOST} pauses at a time")
    told = {"scope": made.scope, "name": made.name, "reason": made.reason, "until": made.until.isoformat()}
    return ActionResult(AuditEntry(PAUSE, str(made.id), {**told, "via": "console"}), "paused", PATH)


async def end(submission: FormSubmission) -> ActionResult:
    text = submission.path["pause_id"]
    if UUID_TEXT.fullmatch(text) is None:
        raise PauseNotFoundError
    ended = await resume(submission.connection, UUID(text), submission.actor, submission.after_commit)
    told = {"scope": ended.scope, "name": ended.name, "via": "console"}
    return ActionResult(AuditEntry(RESUME, text, told), "resumed", PATH, ring=True)


def _wanted(submission: FormSubmission) -> Pausing:
    """表单里说的。

    Raises:
        DomainError: 1001，说得不全，或没有那个名字。
    """
    form, own = submission.form, not submission.console.site.name
    scope, name = form.get("scope", ""), form.get("name", "").strip()
    if scope not in set(PauseScope):
        raise _refused("scope")
    minutes = number_of(form, "minutes", FOR[1], 1, MOST_MINUTES)
    if own and (why := unknown(PauseScope(scope), name)) is not None:
        raise refused(Code.INVALID_PARAMETERS, why, "name")
    try:
        return Pausing(PauseScope(scope), name, form.get("reason", ""), timedelta(minutes=minutes))
    except ValueError:
        raise _refused("name") from None


def _refused(field: str) -> DomainError:
    return refused(Code.INVALID_PARAMETERS, Reason("outbox.pause"), field)
