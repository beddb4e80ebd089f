"""审计：谁、何时、做了什么、成没成。"""

from __future__ import annotations

from urllib.parse import urlencode

from aiohttp import web

from api.console.console_request import ConsoleRequest
from api.endpoints.binding import POSITIVE, UUID_TEXT
from kaguan.audit import store
from kaguan.audit.actions import (
    CONSOLE_LOGIN,
    CONSOLE_LOGOUT,
    DRAIN,
    LIFT,
    LIMIT,
    ON_ENTITIES,
    OUTBOX_REDRIVE,
    PAUSE,
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
)
from kaguan.audit.service import in_language
from kaguan.audit.store import NEWEST
from kaguan.database.paging import BIGINT_MAX

PATH = "/console/audit"
PAGE = 50
MAX_NAME = 100
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
    query = console.request.query
    actor = query.get("actor", "").strip()[:MAX_NAME]
    actor = actor if actor.isprintable() else ""
    chosen = query.get("action", "")
    action = chosen if chosen in ACTIONS else ""
    cursor = query.get("before", "")
    before = min(int(cursor), BIGINT_MAX) if POSITIVE.fullmatch(cursor) else NEWEST
    async with console.services.pool.connection() as connection:
        rows = await store.page(connection, PAGE + 1, before, actor or None, action or None)
    kept = {name: value for name, value in (("actor", actor), ("action", action)) if value}
    more = len(rows) > PAGE
    return console.render(
        "audit.html",
        rows=rows[:PAGE],
        actor=actor,
        action=action,
        actions=ACTIONS,
        paged=before != NEWEST,
        newest=f"{PATH}?{urlencode(kept)}",
        older=f"{PATH}?{urlencode({**kept, 'before': rows[PAGE - 1].id})}" if more else None,
        is_task=lambda text: UUID_TEXT.fullmatch(text or "") is not None,
        detail=lambda row: in_language(row.detail, console.language),
    )
