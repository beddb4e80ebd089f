"""`kaguan worker`：起一个；`list` 与 `drain` 是看有哪些、要一个收工。"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from kaguan.audit.actions import DRAIN
from kaguan.audit.command_line import actor, audited
from kaguan.cli.census import seen_from_here
from kaguan.cli.configured import current_settings
from kaguan.cli.pauses import Why
from kaguan.cli.printing import AsJson, echo, print_json, print_table
from kaguan.cli.processes import MODULES, become
from kaguan.cli.session import open_connection
from kaguan.cli.tree import Helpful
from kaguan.cli.wording import say
from kaguan.config import Settings
from kaguan.database.pool import transaction
from kaguan.outbox.operate import drains
from kaguan.outbox.operate.drains import Drain, WorkerThere
from kaguan.words.durations import duration

COLUMNS = ("name", "held", "slots", "quiet_seconds", "version", "host", "pid", "drain")


class Running(Helpful):
    """只说了组名，是要起一个。"""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return TyperGroup.parse_args(self, ctx, args)


app = typer.Typer(
    name="worker", cls=Running, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)


@app.callback(invoke_without_command=True)
def worker(context: typer.Context) -> None:
    """没有下一级的，起一个。"""
    if context.invoked_subcommand is None:
        become(MODULES["worker"])


@app.command(name="list")
def list_workers(*, as_json: AsJson = False) -> None:
    found = asyncio.run(_look(current_settings()))
    if as_json:
        print_json(found)
    else:
        print_table("worker", COLUMNS, [_shown(one) for one in found])


@app.command(name="drain")
def drain_worker(
    name: Annotated[str, typer.Argument(metavar="ID", help="worker_name")], reason: Why, *, as_json: AsJson = False
) -> None:
    made = asyncio.run(_drain(current_settings(), name, reason))
    if as_json:
        print_json(made)
    else:
        echo(say("draining", name=made.worker, actor=made.actor, reason=made.reason))


async def _look(settings: Settings) -> list[WorkerThere]:
    census = await seen_from_here(settings)
    async with open_connection(settings) as connection:
        return await drains.workers(connection, census)


async def _drain(settings: Settings, name: str, reason: str) -> Drain:
    census = await seen_from_here(settings)
    async with open_connection(settings) as connection, transaction(connection) as after_commit:
        made = await drains.drain(connection, census, name, reason, actor(), after_commit)
        await audited(connection, DRAIN, name, reason=made.reason)
    return made


def _shown(one: WorkerThere) -> dict[str, Any]:
    row = asdict(one)
    row["drain"] = "" if one.drain is None else f"{one.drain.actor}: {one.drain.reason}"
    row["quiet_seconds"] = "" if one.quiet_seconds is None else duration(one.quiet_seconds)
    return row
