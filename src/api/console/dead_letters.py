"""死信：失败的与结局不明的，按类型与原因归并；重放先试运行，再确认。"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import takewhile
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from aiohttp import web

from api.console.console_request import ConsoleRequest
from api.console.serve import ActionResult, FormSubmission, number_of
from api.console.tasks import MAX_SEARCH, moment_of, one_of
from api.console.tasks import PATH as TASKS
from api.endpoints.binding import storable
from kaguan.audit.actions import TASK_REPLAY
from kaguan.audit.store import AuditEntry
from kaguan.outbox.operate import backlog, replay, selection
from kaguan.outbox.operate.replay import REASON_LIMIT, REPLAY_LIMIT, REPLAY_RATE_LIMIT, Replay
from kaguan.outbox.operate.summary import summaries
from kaguan.outbox.operate.sweeping import Deed
from kaguan.outbox.vocabulary import TaskStatus
from kaguan.verdict import queries
from kaguan.verdict.queries import DeadGroup
from kaguan.words.errors import Code, refused
from kaguan.words.reasons import Reason

PATH = "/console/dead-letters"
STATUSES = (TaskStatus.FAILED, TaskStatus.UNCERTAIN)
FIELDS = ("status", "type", "since", "until", "limit", "rate", "one_reason", "reason")
DEFAULT_LIMIT, DEFAULT_RATE = 100, 50


async def dead_letters(console: ConsoleRequest) -> web.Response:
    query = console.request.query
    given = {name: query.get(name, "") if name == "reason" else query.get(name, "").strip() for name in FIELDS}
    asked = "preview" in query
    async with console.services.pool.connection() as connection:
        types = await console.site.types(connection)
        wanted = replay_of(given, console.services.settings.zone, types) if asked else None
        groups = {status: await queries.dead_groups(connection, status) for status in STATUSES}
        preview = None if wanted is None else await replay.preview(connection, wanted)
        parked = await backlog.parked(connection, queries.COUNT_CAP)
        shown = [group.example for several in groups.values() for group in several]
        shown += [] if preview is None else [row["task_id"] for row in preview.matched]
        told = await summaries(connection, shown, console.site.known)
    every = None if preview is None or not preview.limited else f"{PATH}?{_every(given)}#replay"
    token = None if preview is None else selection.encode(preview.selection)
    return console.render(
        "dead_letters.html",
        groups=groups, told=told, preview=preview, wanted=wanted, given=given, parked=parked, cap=queries.DEAD_CAP,
        count_cap=queries.COUNT_CAP, every=every, token=token, one_reason=_said(groups.values(), given["reason"]),
        statuses=STATUSES, types=types, limits=(REPLAY_LIMIT, REPLAY_RATE_LIMIT),
        defaults=(DEFAULT_LIMIT, DEFAULT_RATE),
        preview_link=partial(_preview_link, personal=console.may_act),
        discard_link=_discard_link,
    )  # fmt: skip


async def run_replay(submission: FormSubmission) -> ActionResult:
    """真做：只重放试运行里看到的；逐个留痕，按限速错开。"""
    selected = selection.decode(submission.form.get("selection", ""))
    done = await replay.run_selection(
        submission.connection, selected, submission.actor, after_commit=submission.after_commit
    )
    detail = {**selected.replay.asked(), "count": len(done.task_ids), "skipped": done.skipped, "via": "console"}
    last_due = None if done.last_due is None else done.last_due.isoformat()
    entry = AuditEntry(TASK_REPLAY, None, {**detail, "last_due": last_due})
    notice = "replayed_some" if done.skipped else "replayed"
    return ActionResult(entry, notice, PATH, len(done.task_ids), ring=True, skipped=done.skipped)


def _preview_link(status: str, group: DeadGroup, *, personal: bool) -> str:
    """一组的试运行：类型与原因都带着，只重放这一个起因的。只看的人没有原因：里面也许有别人的原话。"""
    asked = {"preview": "1", "status": status, "type": group.type}
    reason = {"one_reason": "1", "reason": group.reason} if personal else {}
    return f"{PATH}?{urlencode(asked | reason)}#replay"


def _discard_link(group: DeadGroup) -> str:
    """丢弃失败的一组：试运行。"""
    said = "".join(takewhile(str.isprintable, group.reason[:MAX_SEARCH]))
    asked = {"status": TaskStatus.FAILED, "type": group.type, "error": said, "deed": Deed.DISCARD}
    return f"{TASKS}?{urlencode(asked)}"


def _said(groups: Iterable[list[DeadGroup]], reason: str) -> Mapping[str, Any] | str:
    """选的那个原因是哪一组的：显示时按读者的语言。"""
    return next(
        (group.error for several in groups for group in several if group.error and group.reason == reason), reason
    )


def _every(given: Mapping[str, str]) -> str:
    """同样的条件，放到一次的上限。"""
    return urlencode({"preview": "1", **{name: value for name, value in given.items() if value}, "limit": REPLAY_LIMIT})


def replay_of(given: Mapping[str, str], zone: ZoneInfo, types: Iterable[str]) -> Replay:
    """表单里的条件。

    Raises:
        DomainError: 1001，哪一项看不懂。
    """
    wrong: list[str] = []
    status = one_of(given, "status", STATUSES, wrong) or TaskStatus.FAILED
    task_type = one_of(given, "type", types, wrong)
    since = moment_of(given, "since", zone, wrong)
    until = moment_of(given, "until", zone, wrong)
    reason = given.get("reason", "") if given.get("one_reason") else None
    if reason is not None and (len(reason) > REASON_LIMIT or not storable(reason)):
        wrong.append("reason")
    if wrong:
        raise refused(Code.INVALID_PARAMETERS, Reason("outbox.criteria"), wrong[0])
    limit = number_of(given, "limit", DEFAULT_LIMIT, 1, REPLAY_LIMIT)
    rate = number_of(given, "rate", DEFAULT_RATE, 1, REPLAY_RATE_LIMIT)
    return Replay(TaskStatus(status), task_type, since=since, until=until, limit=limit, rate=float(rate), reason=reason)
