"""任务：列表、一个任务的全部、取消与重来。"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from aiohttp import web

from api.console.console_request import ConsoleRequest
from api.console.serve import SEE_OTHER, ActionResult, FormSubmission
from api.endpoints.binding import UUID_TEXT
from kaguan.audit.actions import TASK_CANCEL, TASK_DISCARD, TASK_RETRY
from kaguan.audit.store import AuditEntry
from kaguan.config.model import Environment
from kaguan.outbox.operate import sweeping
from kaguan.outbox.operate.listing import TaskFilter, task_page
from kaguan.outbox.operate.summary import summaries
from kaguan.outbox.operate.sweeping import ALLOWED, Deed, Sweep
from kaguan.outbox.task_type import is_type_name
from kaguan.outbox.vocabulary import FIRST_ID, LAST_ID, Priority, TaskStatus, id_floor
from kaguan.outbox.vocabulary import moment_of as moment_of_id
from kaguan.product.matching import containing
from kaguan.product.searching import find
from kaguan.words import zones

PATH, LIVE = "/console/tasks", "/console/live/tasks"
PAGE = 50
MAX_SEARCH = 128
SCHEDULED = "scheduled"  # 等待的里定在以后的：看起来是另一种状态
MOST_AT_ONCE = 2_000  # 凭据在表单里，表单有上限
TEXTS = ("q", "key", "caller", "error", "iccid", "recipient")
FIELDS = ("type", "status", "queue", "q", "key", "caller", "error", "iccid", "recipient", "since", "until", "id")


async def task_list(console: ConsoleRequest) -> web.Response:
    return await _listed(console, "tasks.html")


async def live_tasks(console: ConsoleRequest) -> web.Response:
    return await _listed(console, "tasks_live.html")


async def _listed(console: ConsoleRequest, template: str) -> web.Response:
    query = console.request.query
    given = {name: query.get(name, "").strip() for name in FIELDS}
    if UUID_TEXT.fullmatch(given["q"]):
        return web.Response(status=SEE_OTHER, headers={"Location": f"{PATH}/{given['q'].lower()}"})
    async with console.services.pool.connection() as connection:
        types = await console.site.types(connection)
        where, wrong = _filter(given, query, console.services.settings.zone, types)
        if given["q"]:
            known, personal = console.site.known, console.may_act
            page = await find(connection, where, given["q"][:MAX_SEARCH], PAGE, known, personal=personal)
        else:
            page = await task_page(connection, where, PAGE)
        told = await summaries(connection, [row.id for row in page.rows], console.site.known)
        sweep = _sweep("" if given["q"] else query.get("deed", ""), where, wrong)
        found = None if sweep is None else await sweeping.preview(connection, sweep)
    kept = {name: value for name, value in given.items() if value}
    older = None if page.older is None else f"{PATH}?{urlencode({**kept, 'cursor': str(page.older)})}"
    return console.render(
        template,
        live=f"{LIVE}?{urlencode(kept)}",
        page=page, until=None if page.older is None else moment_of_id(page.older), told=told, now=datetime.now(UTC),
        given=given, wrong=wrong, older=older, newest=f"{PATH}?{urlencode(kept)}", paged="cursor" in query,
        types=sorted({*types, *filter(None, (where.type,))}), statuses=[*TaskStatus, SCHEDULED], queues=list(Priority),
        kept=kept, local=console.services.settings.env == Environment.DEV,
        found=found, deed=None if sweep is None else sweep.deed, deeds=_deeds(where, kept),
        token=None if found is None else sweeping.encode(found.chosen),
    )  # fmt: skip


async def cancel_many(submission: FormSubmission) -> ActionResult:
    return await _carry_out(submission, Deed.CANCEL, TASK_CANCEL)


async def discard_many(submission: FormSubmission) -> ActionResult:
    return await _carry_out(submission, Deed.DISCARD, TASK_DISCARD)


async def retry_many(submission: FormSubmission) -> ActionResult:
    return await _carry_out(submission, Deed.RETRY, TASK_RETRY)


async def _carry_out(submission: FormSubmission, deed: Deed, action: str) -> ActionResult:
    """真做：只做试运行里看到的。"""
    chosen = sweeping.decode(submission.form.get("selection", ""), deed)
    swept = await sweeping.run(submission.connection, chosen, submission.actor, submission.after_commit)
    entry = AuditEntry(action, None, {**chosen.sweep.asked(), **asdict(swept), "via": "console"})
    notice = "swept_some" if swept.skipped else "swept"
    return ActionResult(entry, notice, submission.back, swept.done + swept.asked, ring=True, skipped=swept.skipped)


def _deeds(where: TaskFilter, kept: Mapping[str, str]) -> list[Deed]:
    """对选中的做得了什么；一个条件也没有的，不给做。"""
    return [
        deed
        for deed in Deed
        if kept.keys() - {"status"} and "q" not in kept and ALLOWED[deed].issuperset(where.statuses)
    ]


def _sweep(deed: str, where: TaskFilter, wrong: Sequence[str]) -> Sweep | None:
    """看不懂的条件不算数：不照余下的去做。"""
    if wrong or deed not in set(Deed) or not ALLOWED[Deed(deed)].issuperset(where.statuses):
        return None
    return Sweep(Deed(deed), where, MOST_AT_ONCE)


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
    _, key, caller, error, iccid, recipient = (_printable(given, name, wrong) for name in TEXTS)
    ids = (UUID(given["id"]),) if UUID_TEXT.fullmatch(given["id"]) else None
    if given["id"] and ids is None:
        wrong.append("id")
    chosen = one_of(given, "status", [*TaskStatus, SCHEDULED], wrong)
    status = TaskStatus.PENDING if chosen == SCHEDULED else chosen
    where = TaskFilter(
        since=FIRST_ID if since is None else id_floor(since),
        before=before,
        type=given["type"] if is_type_name(given["type"]) else one_of(given, "type", types, wrong),
        statuses=() if status is None else (TaskStatus(status),),
        queue=one_of(given, "queue", Priority, wrong),
        ordering_key=key or None,
        caller=caller or None,
        error=error or None,
        containing=containing(iccid or None, recipient or None),
        scheduled=True if chosen == SCHEDULED else None,
        ids=ids,
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
