"""`kaguan task`。"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from types import ModuleType
from typing import Annotated, Any, Literal
from uuid import UUID

import typer

from kaguan.cli.asked import MOST
from kaguan.cli.filters import Filters, filtered, moment
from kaguan.cli.operating import PATIENCE, Timeout, Wait, replay, report, wait_for, watch_tasks
from kaguan.cli.printing import AsJson, echo, print_facts, print_json, print_table
from kaguan.cli.session import with_database
from kaguan.cli.tree import group
from kaguan.cli.wording import reader_language, say
from kaguan.config import load_settings
from kaguan.database.pool import Connection
from kaguan.outbox.operate import record as store
from kaguan.outbox.operate.listing import newest
from kaguan.outbox.operate.pauses import paused_by
from kaguan.outbox.operate.place import Place, place_of
from kaguan.outbox.operate.summary import Summary, summaries
from kaguan.outbox.operate.timeline import timeline
from kaguan.outbox.recover import vanished
from kaguan.outbox.vocabulary import NOTE_LENGTH, Priority, Resolution, moment_of
from kaguan.product.task_types import TASK_TYPES
from kaguan.words.errors import not_found
from kaguan.words.reasons import told
from kaguan.words.zones import written

app = group("task")

COLUMNS = (
    "id",
    "type",
    "summary",
    "caller",
    "queue",
    "status",
    "attempts",
    "created_at",
    "available_at",
    "finished_at",
)

PAUSED = ("id", "scope", "name", "reason", "until")
LOST = ("task_id", "type", "request_id", "delivery", "first_seen")

PART = 1_000  # 没有说至多几个的

TaskId = Annotated[UUID, typer.Argument(help="task_id")]
MaybeTaskId = Annotated[UUID | None, typer.Argument(help="task_id_or_filter")]
Run = Annotated[bool, typer.Option("--run", "--yes", help="run")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="dry_run")]


@app.command(name="list")
@filtered(limit=20, most=1_000)
def list_tasks(filters: Filters, *, as_json: AsJson = False) -> None:
    where, limit = filters.where(), filters.limit
    language = reader_language()

    async def work(connection: Connection) -> list[dict[str, Any]]:
        tasks = await newest(connection, where, limit)
        told = await summaries(connection, [task.id for task in tasks], TASK_TYPES)
        return [_public(task, language, told.get(task.id)) for task in tasks]

    _print(with_database(work), as_json=as_json)


@app.command()
@filtered(limit=20, most=1_000)
def find(filters: Filters, text: Annotated[str, typer.Argument(help="sought")], *, as_json: AsJson = False) -> None:
    language = reader_language()
    deciding, _ = _late()
    tasks, told, older = deciding.find(filters, text)
    _print([_public(task, language, told.get(task.id)) for task in tasks], as_json=as_json)
    if older is not None and not as_json:
        echo(say("looked_back", moment=moment_of(older).isoformat(timespec="milliseconds")))


def _print(tasks: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(tasks)
        return
    rows = [task | {"id": task["task_id"], "attempts": f"{task['attempts']}/{task['max_attempts']}"} for task in tasks]
    keyed = ("ordering_key",) if any(task["ordering_key"] for task in tasks) else ()
    print_table("task", COLUMNS + keyed, rows)


@app.command()
def show(
    task_id: TaskId,
    reason: Annotated[str, typer.Option(help="why_payload")] = "",
    *,
    payload: Annotated[bool, typer.Option("--payload", help="payload")] = False,
    as_json: AsJson = False,
) -> None:
    if payload:
        if not 1 <= len(reason.strip()) <= NOTE_LENGTH:
            raise typer.BadParameter(say("note_length", limit=NOTE_LENGTH), param_hint="--reason")
        deciding, _ = _late()
        print_json(deciding.payload(task_id, reason.strip()))
        return
    language = reader_language()

    async def work(connection: Connection) -> dict[str, Any]:
        task = await store.find(connection, task_id)
        if task is None:
            raise not_found(f"任务 {task_id} ", f"task {task_id}")
        events = await store.events(connection, task_id)
        place = _place(await place_of(connection, task), language)
        paused = await paused_by(connection, task_id)
        held = {name: getattr(paused, name) for name in PAUSED} if paused is not None else None
        told = await summaries(connection, [task_id], TASK_TYPES)
        return (
            _public(task, language, told.get(task_id))
            | place
            | {"paused": held, "timeline": timeline(task, events, language)}
        )

    found = with_database(work)
    if as_json:
        print_json(found)
        return
    stages = found.pop("timeline")
    print_facts({name: value for name, value in found.items() if value is not None})
    zone = load_settings().zone
    echo(say("timeline", zone=zone.key))
    for stage in stages:
        detail = {name: value for name, value in stage.items() if name not in {"stage", "at"} and value is not None}
        print_facts({f"  {written(stage['at'], zone, milliseconds=True)}": f"{stage['stage']} {detail or ''}"})


@app.command()
def stack(task_id: TaskId, *, as_json: AsJson = False) -> None:
    _, stacks = _late()
    stacks.show_stack(task_id, as_json=as_json)


@app.command(name="vanished")
def list_vanished(
    after: Annotated[UUID | None, typer.Option(help="after")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="limit")] = 100,
    *,
    as_json: AsJson = False,
) -> None:
    rows = [asdict(one) for one in with_database(lambda connection: vanished.page(connection, limit, after)).rows]
    if as_json:
        print_json(rows)
    else:
        print_table("vanished", LOST, rows)


app.command(name="watch")(watch_tasks)
app.command(name="replay")(replay)


@app.command()
@filtered(limit=PART, most=MOST)
def retry(
    filters: Filters,
    task_id: MaybeTaskId = None,
    seconds: Timeout = PATIENCE,
    *,
    run: Run = False,
    dry_run: DryRun = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    if task_id is None:
        _sweep("retry", filters, run=run, dry_run=dry_run, as_json=as_json)
    else:
        _act("retry", task_id, seconds=seconds, as_json=as_json, wait=wait)


@app.command()
@filtered(limit=PART, most=MOST)
def cancel(
    filters: Filters,
    task_id: MaybeTaskId = None,
    *,
    run: Run = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    if task_id is None:
        _sweep("cancel", filters, run=run, dry_run=dry_run, as_json=as_json)
    else:
        _act("cancel", task_id, as_json=as_json)


@app.command()
@filtered(limit=PART, most=MOST)
def discard(filters: Filters, *, run: Run = False, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    _sweep("discard", filters, run=run, dry_run=dry_run, as_json=as_json)


@app.command()
def resolve(
    task_id: TaskId,
    outcome: Annotated[Resolution, typer.Argument(help="outcome")],
    note: Annotated[str, typer.Option(help="note")],
    *,
    as_json: AsJson = False,
) -> None:
    if not 1 <= len(note.strip()) <= NOTE_LENGTH:
        raise typer.BadParameter(say("note_length", limit=NOTE_LENGTH), param_hint="--note")
    _act("resolve", task_id, outcome, note, as_json=as_json)


@app.command()
def change(
    task_id: TaskId,
    reason: Annotated[str, typer.Option(help="pause_reason")],
    priority: Annotated[Priority | None, typer.Option(help="queue")] = None,
    due: Annotated[datetime | None, typer.Option("--at", parser=moment, metavar="moment", help="due_at")] = None,
    *,
    now: Annotated[bool, typer.Option("--now", help="due_now")] = False,
    as_json: AsJson = False,
) -> None:
    if now and due is not None:
        raise typer.BadParameter(say("at_or_now"), param_hint="--at")
    deciding, _ = _late()
    status = deciding.change(task_id, reason, priority, datetime.now(UTC) if now else due)
    if as_json:
        print_json({"task_id": task_id, "status": status})
    else:
        echo(say("now", task=task_id, status=status))


def _act(
    action: Literal["retry", "cancel", "resolve"],
    task_id: UUID,
    *said: str,
    seconds: float = 0.0,
    as_json: bool,
    wait: bool = False,
) -> None:
    deciding, _ = _late()
    status = deciding.decide(action, task_id, *said)
    if wait:
        report(wait_for([task_id], seconds, as_json=as_json), as_json=as_json)
    elif as_json:
        print_json({"task_id": task_id, "status": status})
    else:
        echo(say("now", task=task_id, status=status))


def _sweep(deed: str, filters: Filters, *, run: bool, dry_run: bool, as_json: bool) -> None:
    deciding, _ = _late()
    deciding.sweep(deed, filters, run=run, dry_run=dry_run, as_json=as_json)


def _late() -> tuple[ModuleType, ModuleType]:
    from kaguan.cli import deciding, stacks  # noqa: PLC0415 见前者的说明

    return deciding, stacks


def _place(place: Place | None, language: str) -> dict[str, Any]:
    """与 API 同名；另有排在后面的前几个。"""
    if place is None:
        return {"position": None, "blocked_by": None}
    head = place.blocked_by
    blocker = None if head is None else asdict(head) | {"error": head.error and told(head.error, language)}
    behind = {"behind": place.behind} if place.behind else {}
    return {"position": place.position, "blocked_by": blocker, **behind}


def _public(task: store.TaskRecord, language: str, summary: Summary | None) -> dict[str, Any]:
    """与 API 同名：``task_id``、``attempts``。"""
    row = asdict(task)
    row["task_id"], row["attempts"] = row.pop("id"), row.pop("attempt")
    said = None if summary is None else summary.text(language)
    return row | {"last_error": task.last_error and told(task.last_error, language), "summary": said}
