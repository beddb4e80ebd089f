"""`kaguan task`：一个个、一批批地改，等它们结束。"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

import typer

from kaguan.cli import deciding
from kaguan.cli.asked import MOST
from kaguan.cli.filters import Filters, filtered, moment
from kaguan.cli.operating import PATIENCE, Timeout, Wait, report, wait_for
from kaguan.cli.printing import AsJson, echo, print_json
from kaguan.cli.tree import group
from kaguan.cli.wording import say
from kaguan.outbox.vocabulary import NOTE_LENGTH, Priority, Resolution

app = group("task")

PART = 1_000  # 没有说至多几个的

TaskId = Annotated[UUID, typer.Argument(help="task_id")]
MaybeTaskId = Annotated[UUID | None, typer.Argument(help="task_id_or_filter")]
Run = Annotated[bool, typer.Option("--run", "--yes", help="run")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="dry_run")]


@app.command(name="watch")
def watch_tasks(
    task_ids: Annotated[list[UUID], typer.Argument(help="task_ids")],
    seconds: Timeout = PATIENCE,
    *,
    as_json: AsJson = False,
) -> None:
    report(wait_for(task_ids, seconds, as_json=as_json), as_json=as_json)


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
    status = deciding.decide(action, task_id, *said)
    if wait:
        report(wait_for([task_id], seconds, as_json=as_json), as_json=as_json)
    elif as_json:
        print_json({"task_id": task_id, "status": status})
    else:
        echo(say("now", task=task_id, status=status))


def _sweep(deed: str, filters: Filters, *, run: bool, dry_run: bool, as_json: bool) -> None:
    deciding.sweep(deed, filters, run=run, dry_run=dry_run, as_json=as_json)
