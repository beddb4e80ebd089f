"""`kaguan schedule`。"""

from __future__ import annotations

from typing import Annotated

import typer

from kaguan.audit.actions import SCHEDULE_DISABLE, SCHEDULE_ENABLE
from kaguan.audit.command_line import audited
from kaguan.cli.printing import AsJson, echo, print_json, print_table
from kaguan.cli.session import with_database
from kaguan.config import load_settings
from kaguan.database.pool import Connection
from kaguan.outbox.schedule import service

app = typer.Typer(help="定时计划。", no_args_is_help=True)

COLUMNS = {
    "name": "计划",
    "cron": "cron",
    "timezone": "时区",
    "type": "类型",
    "queue": "队列",
    "misfire": "错过时",
    "enabled": "启用",
    "last_fired_at": "上次触发",
    "next_due_at": "下次到期",
}

Name = Annotated[str, typer.Argument(help="计划名")]


@app.command(name="list")
def list_schedules(*, as_json: AsJson = False) -> None:
    """全部计划与上次、下次的时刻。"""
    schedules = load_settings().schedules
    rows = with_database(lambda connection: service.overview(connection, schedules))
    if as_json:
        print_json(rows)
    else:
        print_table(COLUMNS, rows, "没有定时计划；在配置的 schedules 里加")


@app.command()
def enable(name: Name, *, as_json: AsJson = False) -> None:
    """启用；停用期间到期的不补。"""
    _switch(name, enabled=True, as_json=as_json)


@app.command()
def disable(name: Name, *, as_json: AsJson = False) -> None:
    """停用；已经触发的任务不受影响。"""
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
        echo(f"定时计划 {name} 已{'启用' if enabled else '停用'}")
