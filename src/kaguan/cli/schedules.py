"""`kaguan schedule`。"""

from __future__ import annotations

from typing import Annotated

import typer

from kaguan.audit.actions import SCHEDULE_DISABLE, SCHEDULE_ENABLE
from kaguan.audit.command_line import audited
from kaguan.cli.printing import AsJson, echo, print_json, print_table
from kaguan.cli.session import with_database
from kaguan.cli.tree import group
from kaguan.cli.wording import say
from kaguan.config import load_settings
from kaguan.database.pool import Connection
from kaguan.outbox.schedule import service

app = group("schedule")

COLUMNS = ("name", "cron", "timezone", "type", "queue", "misfire", "enabled", "last_fired_at", "next_due_at")

Name = Annotated[str, typer.Argument(help="schedule")]


@app.command(name="list")
def list_schedules(*, as_json: AsJson = False) -> None:
    schedules = load_settings().schedules
    rows = with_database(lambda connection: service.overview(connection, schedules))
    if as_json:
        print_json(rows)
    else:
        print_table("schedule", COLUMNS, rows)


@app.command()
def enable(name: Name, *, as_json: AsJson = False) -> None:
    _switch(name, enabled=True, as_json=as_json)


@app.command()
def disable(name: Name, *, as_json: AsJson = False) -> None:
    _switch(name, enabled=False, as_json=as_json)


def _switch(name: str, *, enabled: bool, as_json: bool) -> None:
    schedules = load_settings().schedules

    async def work(connection: Connection) -> None:
        await service.switch(connection, schedules, name, enabled=enabled)
        await audited(connection, SCHEDULE_ENABLE if enabled else SCHEDULE_DISABLE, name)

    with_database(work)
    if as_json:
        print_json({"name": name, "enabled": enabled})
    else:
        echo(say("enabled" if enabled else "disabled", name=name))
