"""任务：列表、一个任务的全部、取消与重来。"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from aiohttp import web

from api.console.console_request import ConsoleRequest
from api.console.serve import SEE_OTHER
from api.endpoints.binding import UUID_TEXT
from kaguan.outbox.operate.listing import TaskFilter, task_page
from kaguan.outbox.vocabulary import FIRST_ID, LAST_ID, Priority, TaskStatus, id_floor
from kaguan.words import zones

PATH = "/console/tasks"
PAGE = 50
MAX_SEARCH = 128
FIELDS = ("type", "status", "queue", "q", "key", "since", "until")


async def task_list(console: ConsoleRequest) -> web.Response:
    query = console.request.query
    given = {name: query.get(name, "").strip() for name in FIELDS}
    if UUID_TEXT.fullmatch(given["q"]):
        return web.Response(status=SEE_OTHER, headers={"Location": f"{PATH}/{given['q'].lower()}"})
    async with console.services.pool.connection() as connection:
        types = await console.site.types(connection)
        where, wrong = _filter(given, query, console.services.settings.zone, types)
        page = await task_page(connection, where, PAGE)
    kept = {name: value for name, value in given.items() if value}
    older = None if page.older is None else f"{PATH}?{urlencode({**kept, 'cursor': str(page.older)})}"
    return console.render(
        "tasks.html",
        page=page, given=given, wrong=wrong, older=older, newest=f"{PATH}?{urlencode(kept)}",
        paged="cursor" in query, types=types, statuses=list(TaskStatus), queues=list(Priority),
    )  # fmt: skip


def _filter(
    given: Mapping[str, str], query: Mapping[str, str], zone: ZoneInfo, types: Iterable[str]
) -> tuple[TaskFilter, list[str]]:
    """条件与看不懂的字段名；看不懂的不算数，但要说出来。"""
    wrong: list[str] = []
    since = moment_of(given, "since", zone, wrong)
    until = moment_of(given, "until", zone, wrong)
    before = LAST_ID if until is None else id_floor(until)
    cursor = query.get("cursor", "")
    if UUID_TEXT.fullmatch(cursor):
        before = min(before, UUID(cursor))
    search, key = (_printable(given, name, wrong) for name in ("q", "key"))
    where = TaskFilter(
        since=FIRST_ID if since is None else id_floor(since),
        before=before,
        type=one_of(given, "type", types, wrong),
        status=one_of(given, "status", TaskStatus, wrong),
        queue=one_of(given, "queue", Priority, wrong),
        request_id=search or None,
        ordering_key=key or None,
    )
    return where, wrong


def _printable(given: Mapping[str, str], name: str, wrong: list[str]) -> str:
    text = given[name]
    if text.isprintable() and len(text) <= MAX_SEARCH:
        return text
    wrong.append(name)
    return ""


def one_of(given: Mapping[str, str], name: str, values: Iterable[str], wrong: list[str]) -> str | None:
    value = given.get(name, "")
    if not value:
        return None
    if value in {str(allowed) for allowed in values}:
        return value
    wrong.append(name)
    return None


def moment_of(given: Mapping[str, str], name: str, zone: ZoneInfo, wrong: list[str]) -> datetime | None:
    """``2026-11-25T08:30``，在 ``zone`` 里（页面上的时刻也是）；自带偏移的照它。"""
    text = given.get(name, "")
    if not text:
        return None
    try:
        return zones.read(text, zone, last=name == "until")
    except (ValueError, OverflowError):
        wrong.append(name)
        return None
