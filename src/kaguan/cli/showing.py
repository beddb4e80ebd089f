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
from kaguan.outbox.operate import record as store
from kaguan.outbox.operate.pauses import paused_by
from kaguan.outbox.operate.place import Place, place_of
from kaguan.outbox.operate.summary import summaries
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
        task = await store.find(connection, task_id)
        if task is None:
            raise not_found(f"任务 {task_id} ", f"task {task_id}")
        events = await store.events(connection, task_id)
        place = _place(await place_of(connection, task), language)
        paused = await paused_by(connection, task_id)
        held = {name: getattr(paused, name) for name in PAUSED} if paused is not None else None
        told = await summaries(connection, [task_id], TASK_TYPES)
        return (
            public(task, language, told.get(task_id))
            | place
            | {"paused": held, "timeline": timeline(task, events, language)}
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
        detail = {name: value for name, value in stage.items() if name not in {"stage", "at"} and value is not None}
        print_facts({f"  {written(stage['at'], zone, milliseconds=True)}": f"{stage['stage']} {detail or ''}"})


def _place(place: Place | None, language: str) -> dict[str, Any]:
    """与 API 同名；另有排在后面的前几个。"""
    if place is None:
        return {"position": None, "blocked_by": None}
    head = place.blocked_by
    blocker = None if head is None else asdict(head) | {"error": head.error and told(head.error, language)}
    behind = {"behind": place.behind} if place.behind else {}
    return {"position": place.position, "blocked_by": blocker, **behind}
