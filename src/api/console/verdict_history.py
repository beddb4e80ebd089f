"""什么时候红过、红了多久：判断的历史，按时间段看。"""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlencode
from uuid import UUID

from aiohttp import web

from api.console.console_request import BACK, ConsoleRequest
from api.console.pauses import FOR, MOST_MINUTES
from api.console.serve import ActionResult, FormSubmission, number_of
from api.console.tasks import moment_of, one_of
from api.console.verdicts import VERDICTS
from api.endpoints.binding import POSITIVE, UUID_TEXT
from kaguan.audit.actions import ACKNOWLEDGE, REMIND
from kaguan.audit.store import AuditEntry
from kaguan.database.paging import BIGINT_MAX
from kaguan.outbox.vocabulary import NOTE_LENGTH
from kaguan.verdict import acknowledging, history
from kaguan.verdict.acknowledging import MOST, Acknowledging
from kaguan.verdict.model import ConcernCode
from kaguan.verdict.notice import ways
from kaguan.verdict.wording import Wording
from kaguan.words.errors import Code, DomainError, conflict, invalid

PATH = "/console/verdict"
PAGE = 50
FIELDS = ("code", "since", "until")


async def verdict_history(console: ConsoleRequest) -> web.Response:
    query, zone = console.request.query, console.services.settings.zone
    given = {name: query.get(name, "").strip() for name in FIELDS}
    wrong: list[str] = []
    code = one_of(given, "code", ConcernCode, wrong)
    since, until = moment_of(given, "since", zone, wrong), moment_of(given, "until", zone, wrong)
    cursor = query.get("before", "")
    before = min(int(cursor), BIGINT_MAX) if POSITIVE.fullmatch(cursor) else BIGINT_MAX
    asked = {"concern": query.get("concern", ""), "subject": query.get("subject", "")}
    concern = None
    if asked["concern"]:
        _, verdict = await console.request.app[VERDICTS].look()
        concern = next((one for one in verdict.concerns if (one.code, one.subject) == tuple(asked.values())), None)
    async with console.services.pool.connection() as connection:
        found = await history.page(connection, PAGE + 1, before, since, until, ConcernCode(code) if code else None)
        known = await acknowledging.acknowledged(connection)
    rows, words = found[:PAGE], console.formatter
    wording = Wording(console.language, words.word)
    kept = {name: value for name, value in given.items() if value}
    return console.render(
        "verdict.html",
        rows=[(row, words.shown(wording.text(row.concern))) for row in rows],
        asked=asked,
        reason=query.get("reason", ""),
        concern=None if concern is None else words.shown(wording.text(concern)),
        known=known,
        told_by=[words.word("type", way) for way in ways(console.services.settings.alerts)],
        lasting=FOR,
        most_minutes=MOST_MINUTES,
        note_length=NOTE_LENGTH,
        codes=sorted(ConcernCode),
        given=given,
        wrong=wrong,
        paged=before != BIGINT_MAX,
        newest=f"{PATH}?{urlencode(kept)}",
        older=f"{PATH}?{urlencode({**kept, 'before': rows[-1].id})}" if len(found) > PAGE else None,
    )


async def acknowledge(submission: FormSubmission) -> ActionResult:
    written = {name: submission.form.get(name, "") for name in ("concern", "subject", "reason")}
    submission.console.request[BACK] = f"{PATH}?{urlencode(written)}#reason"
    wanted = _wanted(submission)
    _, verdict = await submission.console.request.app[VERDICTS].look()
    concern = wanted.of(verdict.concerns)
    if concern is None:
        raise DomainError(Code.NOT_FOUND, "判断里此刻没有这一件", "the verdict has no such concern now")
    made = await acknowledging.acknowledge(submission.connection, wanted, concern, submission.actor)
    if made is None:
        raise conflict("acknowledgements", f"至多收着 {MOST} 件", f"at most {MOST} acknowledgements at a time")
    told = {"subject": made.subject, "reason": made.reason, "until": made.until.isoformat(), "via": "console"}
    return ActionResult(AuditEntry(ACKNOWLEDGE, made.code, told), "acknowledged", submission.back)


async def remind(submission: FormSubmission) -> ActionResult:
    text = submission.path["acknowledgement"]
    ended = await acknowledging.remind(submission.connection, UUID(text)) if UUID_TEXT.fullmatch(text) else None
    if ended is None:
        raise DomainError(Code.NOT_FOUND)
    return ActionResult(AuditEntry(REMIND, ended.code, {"subject": ended.subject, "via": "console"}), "reminded", PATH)


def _wanted(submission: FormSubmission) -> Acknowledging:
    """表单里说的。

    Raises:
        DomainError: 1001，说得不全，或没有那个代号。
    """
    form = submission.form
    code = form.get("concern", "")
    minutes = number_of(form, "minutes", FOR[1], 1, MOST_MINUTES)
    if code not in set(ConcernCode):
        raise invalid("concern", "没有这个代号", "there is no such code")
    try:
        return Acknowledging(
            ConcernCode(code), form.get("subject", ""), form.get("reason", ""), timedelta(minutes=minutes)
        )
    except ValueError:
        raise invalid("reason", "要有原因", "a reason is wanted") from None
