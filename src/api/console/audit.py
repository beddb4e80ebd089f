"""审计：谁、何时、做了什么、成没成。"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from aiohttp import web

from api.console.console_request import ConsoleRequest
from api.console.tasks import moment_of, one_of
from api.console.texts import Translator
from api.endpoints.binding import UUID_TEXT
from api.http.exporting import send_csv
from kaguan.audit import exporting, reading
from kaguan.audit.actions import (
    ACKNOWLEDGE,
    CONSOLE_LOGIN,
    CONSOLE_LOGOUT,
    DRAIN,
    LIFT,
    LIMIT,
    ON_ENTITIES,
    OUTBOX_REDRIVE,
    PAUSE,
    REMIND,
    RESUME,
    SCHEDULE_DISABLE,
    SCHEDULE_ENABLE,
    SCHEDULE_RUN,
    SESSION_END,
    TASK_CANCEL,
    TASK_CHANGE,
    TASK_DISCARD,
    TASK_PAYLOAD,
    TASK_REPLAY,
    TASK_RESOLVE,
    TASK_RETRY,
    TOKEN_CREATE,
    TOKEN_REVOKE,
    TRY,
)
from kaguan.audit.reading import NAME_MAX, AuditFilter, AuditRow
from kaguan.audit.service import in_language
from kaguan.database.paging import Sort, decode_cursor, encode_cursor
from kaguan.tokens.service import OPERATE
from kaguan.words.errors import Code, DomainError, refused
from kaguan.words.reasons import Reason
from kaguan.words.spreadsheet import BOM, kept_whole

PATH = "/console/audit"
PAGE = 50
ORDER = Sort.CREATED_LAST
TEXTS = ("actor", "target")
FIELDS = (*TEXTS, "action", "since", "until")
ACTIONS = (
    CONSOLE_LOGIN,
    CONSOLE_LOGOUT,
    TASK_CANCEL,
    TASK_CHANGE,
    TASK_DISCARD,
    TASK_RETRY,
    TASK_PAYLOAD,
    TASK_RESOLVE,
    TASK_REPLAY,
    OUTBOX_REDRIVE,
    PAUSE,
    RESUME,
    LIMIT,
    LIFT,
    DRAIN,
    ACKNOWLEDGE,
    REMIND,
    TRY,
    SESSION_END,
    TOKEN_CREATE,
    TOKEN_REVOKE,
    "migrate",
    SCHEDULE_RUN,
    SCHEDULE_ENABLE,
    SCHEDULE_DISABLE,
    "monitor.retry",
    "monitor.abort",
    *ON_ENTITIES,
)


async def audit(console: ConsoleRequest) -> web.Response:
    given, wrong = _given(console)
    cursor = console.request.query.get("cursor")
    before = None
    try:
        before = None if cursor is None else decode_cursor(cursor, ORDER)
    except DomainError:
        wrong.append("cursor")
    where = _where(given, console.services.settings.zone, wrong)
    async with console.services.pool.connection() as connection:
        rows, older = await reading.page(connection, where, PAGE, before)
    kept = {name: value for name, value in given.items() if value}
    return console.render(
        "audit.html",
        rows=rows,
        given=given,
        wrong=wrong,
        actions=ACTIONS,
        paged=before is not None,
        newest=f"{PATH}?{urlencode(kept)}",
        export=f"{PATH}/export?{urlencode(kept)}",
        older=None if older is None else f"{PATH}?{urlencode({**kept, 'cursor': encode_cursor(older, ORDER)})}",
        partial=older is not None and len(rows) < PAGE,
        is_task=lambda row: row.action.startswith("task.") and UUID_TEXT.fullmatch(row.target or "") is not None,
        detail=lambda row: in_language(row.detail, console.language),
    )


async def export_audit(console: ConsoleRequest) -> web.StreamResponse:
    """条件选中的全部，给表格软件看；只给看得见个人信息的。"""
    session, formatter = console.session, console.formatter
    principal = None if session is None else session.principal
    if principal is not None:
        principal.require(OPERATE)
    given, wrong = _given(console)
    where = _where(given, console.services.settings.zone, wrong)
    if wrong:
        raise refused(Code.INVALID_PARAMETERS, Reason("outbox.criteria"), wrong[0])
    titles = [Translator(console.language)(f"column.{name}") for name in exporting.COLUMNS]

    def cells(row: AuditRow) -> list[object]:
        detail = in_language(row.detail, console.language).items()
        told = {name: (isinstance(value, str) and formatter.of_time(value)) or value for name, value in detail}
        said = {
            "at": row.at.astimezone(formatter.zone).replace(tzinfo=None, microsecond=0),
            "action": formatter.word("action", row.action.replace(".", "_")),
            "outcome": formatter.word("outcome", row.outcome),
            "target": kept_whole(row.target) if (row.target or "").isdigit() else row.target,
            "detail": exporting.as_text(told),
        }
        return [said.get(name, getattr(row, name)) for name in exporting.COLUMNS]

    pages = exporting.entries(console.services.pool.connection, where)
    token = 0 if principal is None else principal.id
    return await send_csv(console.request, token, "audit", titles, pages, cells, start=BOM)


def _given(console: ConsoleRequest) -> tuple[dict[str, str], list[str]]:
    """条件，与看不懂的字段名。"""
    given = {name: console.request.query.get(name, "").strip() for name in FIELDS}
    wrong = [name for name in TEXTS if not given[name].isprintable() or len(given[name]) > NAME_MAX]
    return given, wrong


def _where(given: Mapping[str, str], zone: ZoneInfo, wrong: list[str]) -> AuditFilter:
    """看不懂的不算数，记进 ``wrong``。"""
    actor, target = (None if name in wrong else given[name] or None for name in TEXTS)
    action = one_of(given, "action", ACTIONS, wrong)
    since, until = moment_of(given, "since", zone, wrong), moment_of(given, "until", zone, wrong)
    return AuditFilter(actor, action, target, since, until)
