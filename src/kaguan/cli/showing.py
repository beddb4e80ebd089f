"""`kaguan task show`：一个任务与它的时间线。"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

import typer

from kaguan.cli.configured import current_settings
from kaguan.cli.printing import AsJson, echo, print_facts, print_json
from kaguan.cli.session import with_database
from kaguan.cli.tasks import public
from kaguan.cli.tree import group
from kaguan.cli.wording import reader_language, say
from kaguan.database.connecting import Connection
from kaguan.outbox.operate.detail import detail
from kaguan.outbox.operate.place import Place
from kaguan.outbox.operate.timeline import timeline
from kaguan.outbox.vocabulary import NOTE_LENGTH
from kaguan.product.task_types import TASK_TYPES
from kaguan.words.errors import not_found
from kaguan.words.reasons import told
from kaguan.words.zones import written

app = group("show")

PAUSED = ("id", "scope", "name", "reason", "until")

TaskId = Annotated[UUID, typer.Argument(help="task_id")]


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
        from kaguan.cli import deciding  # noqa: PLC0415 见其说明

        print_json(deciding.payload(task_id, reason.strip()))
        return
    language = reader_language()

    async def work(connection: Connection) -> dict[str, Any]:
        found = await detail(connection, task_id, TASK_TYPES)
        if found is None:
            raise not_found(f"任务 {task_id} ", f"task {task_id}")
        paused = found.paused
        held = {name: getattr(paused, name) for name in PAUSED} if paused is not None else None
        return (
            public(found.task, language, found.summary)
            | _place(found.place, language)
            | {"paused": held, "timeline": timeline(found.task, found.events, language)}
        )

    found = with_database(work)
    if as_json:
        print_json(found)
        return
    stages = found.pop("timeline")
    print_facts({name: value for name, value in found.items() if value is not None})
    zone = current_settings().zone
    echo(say("timeline", zone=zone.key))
    for stage in stages:
        rest = {name: value for name, value in stage.items() if name not in {"stage", "at"} and value is not None}
        print_facts({f"  {written(stage['at'], zone, milliseconds=True)}": [stage["stage"], *([rest] if rest else [])]})


def _place(place: Place | None, language: str) -> dict[str, Any]:
    """与 API 同名；另有排在后面的前几个。"""
    if place is None:
        return {"position": None, "blocked_by": None}
    head = place.blocked_by
    blocker = None if head is None else asdict(head) | {"error": head.error and told(head.error, language)}
    behind = {"behind": place.behind} if place.behind else {}
    return {"position": place.position, "blocked_by": blocker, **behind}
