"""一个任务的全部：事实、时间线、尝试、瀑布图；取消与重来。"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from aiohttp import web

from api.console.console_request import BACK, ConsoleRequest
from api.console.serve import ActionResult, FormSubmission, number_of
from api.console.tasks import PATH as TASKS
from api.console.traces import SETTLES, TRACES, Absence, Branch, Cause
from api.endpoints.binding import UUID_TEXT
from kaguan.audit.actions import TASK_CANCEL, TASK_CHANGE, TASK_PAYLOAD, TASK_RESOLVE, TASK_RETRY
from kaguan.audit.store import AuditEntry
from kaguan.outbox.operate import changing, decisions
from kaguan.outbox.operate import record as store
from kaguan.outbox.operate.changing import Changing
from kaguan.outbox.operate.decisions import CANCELLABLE
from kaguan.outbox.operate.detail import detail
from kaguan.outbox.operate.lasting import LONGEST
from kaguan.outbox.operate.place import PLACE_CAP
from kaguan.outbox.operate.record import EventRecord, TaskRecord
from kaguan.outbox.operate.sweeping import WAITING, Deed
from kaguan.outbox.operate.timeline import settled_by_hand, timeline
from kaguan.outbox.spans import LOST
from kaguan.outbox.vocabulary import (
    FINAL,
    NOTE_LENGTH,
    RETRYABLE,
    Priority,
    Resolution,
    TaskEventKind,
    TaskStatus,
)
from kaguan.telemetry.propagation import sampled_trace_of, trace_id_of
from kaguan.telemetry.unsampled import exports
from kaguan.words.errors import Code, refused
from kaguan.words.reasons import Reason
from kaguan.words.units import MINUTE

# 一次尝试怎样收的场
ENDINGS = frozenset(
    {
        TaskEventKind.ATTEMPT_FAILED,
        TaskEventKind.UNCERTAIN,
        TaskEventKind.INTERRUPTED,
        TaskEventKind.REDRIVEN,
        TaskEventKind.RESEND,
        TaskEventKind.TO_VERIFY,
        TaskEventKind.PARKED,
    }
)
# 时间线的一项里不一定有的
OPTIONAL = dict.fromkeys(("attempt", "delivery", "worker", "actor", "reason", "cause", "outcome", "note"))
CANCEL_NOTICES = {
    TaskStatus.CANCELLED: "cancelled",
    TaskStatus.RUNNING: "cancel_requested",
    TaskStatus.UNCERTAIN: "cancel_uncertain",
}


@dataclass(frozen=True, slots=True)
class AttemptLine:
    """一次尝试：何时开始，怎样收场；``trace_id`` 是它自己的那条跟踪，没有被采样就没有。"""

    number: int
    kind: str
    started_at: datetime | None
    at: datetime | None
    worker: str | None
    reason: Mapping[str, Any]
    trace_id: str | None


async def task_page(console: ConsoleRequest) -> web.Response:
    context = await _context(console)
    return console.render("task.html", **context, **await _trace(console, context))


async def live_task(console: ConsoleRequest) -> web.Response:
    return console.render("task_live.html", **await _context(console))


async def live_trace(console: ConsoleRequest) -> web.Response:
    context = await _context(console)
    return console.render("task_trace.html", **context, **await _trace(console, context))


async def cancel(submission: FormSubmission) -> ActionResult:
    task_id = id_in(submission.path)
    status = await decisions.cancel(submission.connection, task_id, submission.actor, submission.after_commit)
    entry = AuditEntry(TASK_CANCEL, str(task_id), {"status": status, "via": "console"})
    return ActionResult(entry, CANCEL_NOTICES[status], submission.back, ring=True)  # 同键的下一个也许放行了


async def retry(submission: FormSubmission) -> ActionResult:
    task_id = id_in(submission.path)
    status = await decisions.retry(submission.connection, task_id, submission.actor, submission.after_commit)
    entry = AuditEntry(TASK_RETRY, str(task_id), {"status": status, "via": "console"})
    return ActionResult(entry, "retried", submission.back, ring=True)


async def resolve(submission: FormSubmission) -> ActionResult:
    task_id, note = id_in(submission.path), submission.form.get("note", "").strip()
    _keep(submission, "note", note)
    wanted = submission.form.get("outcome", "")
    if wanted not in set(Resolution) or not 1 <= len(note) <= NOTE_LENGTH:
        raise refused(Code.INVALID_PARAMETERS, Reason("outbox.resolution", {"limit": NOTE_LENGTH}), "note")
    status = await decisions.resolve(
        submission.connection, task_id, submission.actor, Resolution(wanted), note, submission.after_commit
    )
    entry = AuditEntry(TASK_RESOLVE, str(task_id), {"status": status, "note": note, "via": "console"})
    return ActionResult(entry, f"resolved_{wanted}", submission.back, ring=True)


async def payload(submission: FormSubmission) -> ActionResult:
    """看一眼载荷：谁、为什么看了哪一个，进审计。"""
    task_id, reason = id_in(submission.path), submission.form.get("reason", "").strip()
    _keep(submission, "payload", reason)
    if not 1 <= len(reason) <= NOTE_LENGTH:
        raise refused(Code.INVALID_PARAMETERS, Reason("outbox.why_payload", {"limit": NOTE_LENGTH}), "reason")
    found = await store.payload_of(submission.connection, task_id)
    if found is None:
        raise refused(Code.NOT_FOUND, Reason("outbox.no_task"))
    shown = submission.console.render("payload.html", task_id=task_id, type=found[0], payload=found[1])
    shown.headers["Cache-Control"] = "no-store"
    entry = AuditEntry(TASK_PAYLOAD, str(task_id), {"reason": reason, "via": "console"})
    return ActionResult(entry, "", submission.back, page=shown)


async def change(submission: FormSubmission) -> ActionResult:
    task_id, form = id_in(submission.path), submission.form
    minutes, priority, reason = form.get("minutes", "").strip(), form.get("priority", ""), form.get("reason", "")
    _keep(submission, "change", reason)
    after = timedelta(minutes=number_of(form, "minutes", 0, 0, LONGEST // MINUTE))
    due = datetime.now(UTC) + after if minutes else None
    try:
        wanted = Changing(reason, Priority(priority) if priority else None, due)
    except ValueError:
        raise refused(Code.INVALID_PARAMETERS, Reason("outbox.change"), "priority") from None
    await changing.change(submission.connection, task_id, submission.actor, wanted, submission.after_commit)
    told = {"priority": wanted.priority, "schedule_at": due and due.isoformat(), "reason": reason, "via": "console"}
    return ActionResult(AuditEntry(TASK_CHANGE, str(task_id), told), "task_changed", submission.back, ring=True)


def _keep(submission: FormSubmission, form: str, reason: str) -> None:
    """被拒了回去，写好的缘由还在那一张表单里。"""
    task_id = submission.path["task_id"]
    submission.console.request[BACK] = f"{TASKS}/{task_id}?{urlencode({form: reason})}#{form}"


def id_in(path: Mapping[str, str]) -> UUID:
    """地址里的任务号。

    Raises:
        DomainError: 1004，不是任务号。
    """
    text = path["task_id"]
    if UUID_TEXT.fullmatch(text) is None:
        raise refused(Code.NOT_FOUND, Reason("outbox.no_task"))
    return UUID(text)


async def _context(console: ConsoleRequest) -> dict[str, Any]:
    task_id = id_in(console.request.match_info)
    async with console.services.pool.connection() as connection:
        found = await detail(connection, task_id, console.site.known)
    if found is None:
        raise refused(Code.NOT_FOUND, Reason("outbox.no_task"))
    task, events, place = found.task, found.events, found.place
    parents = (task.traceparent, *(event.traceparent for event in events), task.last_attempt)
    traces = list(dict.fromkeys(filter(None, map(sampled_trace_of, parents))))
    accepted = trace_id_of(task.traceparent)
    lost = any(event.detail.get("cause") == LOST for event in events)
    if lost and accepted is not None and accepted not in traces:  # relay 在受理的那条上补了一个跨度，不论采样
        traces.insert(0, accepted)
    running = task.status == TaskStatus.RUNNING
    holding = task.status == TaskStatus.FAILED and place is not None  # 取消就是放行后面的
    return {
        "task": task,
        "summary": found.summary,
        "place": place,
        "paused": found.paused,
        "place_cap": PLACE_CAP,
        "stages": [OPTIONAL | stage for stage in timeline(task, events, console.language)],
        "attempts": attempts(task, events),
        "traces": traces,
        "accepted": accepted,
        "lost": lost,
        "quiet": max([task.created_at, *filter(None, (task.finished_at,)), *(event.at for event in events)]),
        "now": datetime.now(UTC),
        "cancellable": task.status in CANCELLABLE or holding or (running and not task.cancel_requested_at),
        "waiting": task.status in WAITING,
        "priorities": list(Priority),
        "retryable": task.status in RETRYABLE,
        "discard": _discard_link(task) if task.status == TaskStatus.FAILED else None,
        "uncertain": task.status == TaskStatus.UNCERTAIN,
        "note_length": NOTE_LENGTH,
        "kept": {form: console.request.query.get(form, "") for form in ("note", "payload", "change")},
        "final": task.status in FINAL,
    }


async def _trace(console: ConsoleRequest, context: Mapping[str, Any]) -> dict[str, Any]:
    """要看的那条跟踪；只取这个任务自己的。没有可画的，说为什么。"""
    task: TaskRecord = context["task"]
    known: Sequence[str] = context["traces"]
    traces, telemetry = console.request.app[TRACES], console.services.settings.telemetry
    wanted = console.request.query.get("trace")
    chosen = wanted if wanted in known else next(iter(known), None)
    found = _unsought(context["accepted"]) if chosen is None else await traces.find(chosen, task.id)
    ended = next((line.at for line in context["attempts"] if line.trace_id == chosen and line.at), context["quiet"])
    now: datetime = context["now"]
    running = task.status == TaskStatus.RUNNING
    if isinstance(found, Absence):
        found = found.told_by(ended, now, running=running, lost=context["lost"])
    branch = found if isinstance(found, Branch) else None
    return {
        "chosen": chosen,
        "absence": None if isinstance(found, Branch) else found,
        "waterfall": branch and branch.waterfall,
        "others": branch and branch.others,
        "linked": traces.linked,
        "trace_link": traces.link,
        "share": f"{telemetry.sample_ratio:.0%}",
        "since_end": ended,
        "still": chosen is None or not traces.url or (not running and branch is not None and now - ended > SETTLES),
    }


def _discard_link(task: TaskRecord) -> str:
    """丢弃这一个：试运行。"""
    return f"{TASKS}?{urlencode({'id': task.id, 'status': TaskStatus.FAILED, 'deed': Deed.DISCARD})}"


def _unsought(accepted: str | None) -> Absence:
    if accepted is None:
        return Absence(Cause.UNTRACED)
    return Absence(Cause.UNSAMPLED if exports() else Cause.OFF)


def attempts(task: TaskRecord, events: Sequence[EventRecord]) -> list[AttemptLine]:
    """每次尝试一行；重来过的从头数起，所以号码可能重复。还在跑的、做成了的排在最后。"""
    lines = [
        AttemptLine(
            event.attempt,
            "lost" if event.kind == TaskEventKind.REDRIVEN else event.kind,
            event.started_at,
            event.at,
            worker=event.worker,
            reason=event.detail,
            trace_id=sampled_trace_of(event.traceparent),
        )
        for event in events
        # 还没开始就重投的，没有哪一次可说
        if event.kind in ENDINGS and event.attempt > 0 and (event.kind != TaskEventKind.REDRIVEN or event.started_at)
    ]
    if task.status in {TaskStatus.RUNNING, TaskStatus.SUCCEEDED} and not settled_by_hand(events):
        ended = task.finished_at if task.status == TaskStatus.SUCCEEDED else None
        trace_id = sampled_trace_of(task.last_attempt)
        lines.append(
            AttemptLine(
                task.attempt, task.status, task.started_at, ended, worker=task.worker, reason={}, trace_id=trace_id
            )
        )
    return lines
