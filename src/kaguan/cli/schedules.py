"""`kaguan schedule`。"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

import typer

from kaguan.audit.actions import SCHEDULE_DISABLE, SCHEDULE_ENABLE, SCHEDULE_RUN
from kaguan.audit.command_line import audited
from kaguan.cli.configured import current_settings
from kaguan.cli.operating import Timeout, Wait, report, wait_for
from kaguan.cli.printing import AsJson, echo, print_json, print_table
from kaguan.cli.session import with_database
from kaguan.cli.tree import group
from kaguan.cli.wording import say
from kaguan.database.pool import Connection, at_once, transaction
from kaguan.outbox.schedule import history, service
from kaguan.outbox.task_type import TaskTypes
from kaguan.product.task_types import TASK_TYPES

app = group("schedule")

COLUMNS = ("name", "cron", "timezone", "type", "queue", "misfire", "enabled", "last_fired_at", "next_due_at")

RUNS = ("at", "by_hand", "status", "task_id", "finished_at")

Name = Annotated[str, typer.Argument(help="schedule")]


@app.command(name="list")
def list_schedules(*, as_json: AsJson = False) -> None:
    schedules = current_settings().schedules
    rows = with_database(lambda connection: service.overview(connection, schedules))
    if as_json:
        print_json(rows)
    else:
        print_table("schedule", COLUMNS, rows)


@app.command()
def show(name: Name, *, as_json: AsJson = False) -> None:
    schedules = current_settings().schedules
    found = with_database(lambda connection: history.history(connection, schedules, name))
    rows = [_run(run) for run in found.runs]
    if as_json:
        print_json({"name": name, "upcoming": found.upcoming, "runs": rows})
        return
    print_table("run", RUNS, rows)
    print_table("upcoming", ("at",), [{"at": moment} for moment in found.upcoming])


def _run(run: history.Run) -> dict[str, Any]:
    """与 API 同名。"""
    task = {} if run.task is None else asdict(run.task)
    return {
        "at": run.at,
        "by_hand": run.by_hand,
        "task_id": task.get("id"),
        "status": task.get("status"),
        "finished_at": task.get("finished_at"),
    }


@app.command()
def run(name: Name, seconds: Timeout = 3_600.0, *, wait: Wait = False, as_json: AsJson = False) -> None:
    settings = current_settings()

    async def work(connection: Connection) -> UUID:
        async with transaction(connection):
            _, accepted = await history.run_now(
                connection,
                settings.schedules,
                TaskTypes(TASK_TYPES),
                name,
                max_attempts=settings.tasks.max_attempts,
                after_commit=at_once,
            )
            await audited(connection, SCHEDULE_RUN, name, task_id=str(accepted.task_id))
        return accepted.task_id

    task_id = with_database(work)
    if wait:
        report(wait_for([task_id], seconds, as_json=as_json), as_json=as_json)
    elif as_json:
        print_json({"task_id": task_id})
    else:
        echo(say("accepted", task=task_id))


@app.command()
def enable(name: Name, *, as_json: AsJson = False) -> None:
    _switch(name, enabled=True, as_json=as_json)


@app.command()
def disable(name: Name, *, as_json: AsJson = False) -> None:
    _switch(name, enabled=False, as_json=as_json)


def _switch(name: str, *, enabled: bool, as_json: bool) -> None:
    schedules = current_settings().schedules

    async def work(connection: Connection) -> None:
        await service.switch(connection, schedules, name, enabled=enabled)
        await audited(connection, SCHEDULE_ENABLE if enabled else SCHEDULE_DISABLE, name)

    with_database(work)
    if as_json:
        print_json({"name": name, "enabled": enabled})
    else:
        echo(say("enabled" if enabled else "disabled", name=name))
