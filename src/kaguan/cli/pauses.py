"""`kaguan pause`。"""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from kaguan.audit.actions import PAUSE
from kaguan.audit.command_line import actor, audited
from kaguan.cli.configured import current_settings
from kaguan.cli.failure import CommandError
from kaguan.cli.printing import AsJson, echo, print_json, print_table
from kaguan.cli.session import with_database
from kaguan.cli.tree import group
from kaguan.cli.wording import reader_language, say, worded
from kaguan.database.pool import Connection, transaction
from kaguan.outbox.operate import pauses
from kaguan.outbox.operate.pauses import MOST, Pause, Pausing
from kaguan.outbox.vocabulary import PauseScope, Priority
from kaguan.product.pausable import unknown
from kaguan.sims.vocabulary import Carrier
from kaguan.words.durations import seconds_of

app = group("pause")

COLUMNS = ("id", "scope", "name", "waiting", "until", "reason", "actor")


def _lasting(text: str) -> timedelta:
    """``30m``。

    Raises:
        BadParameter: 不是一段时长。
    """
    seconds = seconds_of(text)
    if seconds is None:
        raise typer.BadParameter(say("not_a_duration", text=text))
    return timedelta(seconds=seconds)


Lasting = Annotated[timedelta, typer.Option("--for", parser=_lasting, metavar="30m", help="lasting")]
Why = Annotated[str, typer.Option("--reason", help="pause_reason")]


@app.command(name="type")
def pause_type(
    name: Annotated[str, typer.Argument(help="type")], lasting: Lasting, reason: Why, *, as_json: AsJson = False
) -> None:
    _pause(PauseScope.TYPE, name, lasting, reason, as_json=as_json)


@app.command(name="queue")
def pause_queue(
    name: Annotated[Priority, typer.Argument(help="queue")], lasting: Lasting, reason: Why, *, as_json: AsJson = False
) -> None:
    _pause(PauseScope.QUEUE, name, lasting, reason, as_json=as_json)


@app.command(name="carrier")
def pause_carrier(
    name: Annotated[str, typer.Argument(help="outside", autocompletion=lambda: list(Carrier))],
    lasting: Lasting,
    reason: Why,
    *,
    as_json: AsJson = False,
) -> None:
    _pause(PauseScope.CARRIER, name, lasting, reason, as_json=as_json)


@app.command(name="caller")
def pause_caller(
    name: Annotated[str, typer.Argument(help="caller")], lasting: Lasting, reason: Why, *, as_json: AsJson = False
) -> None:
    _pause(PauseScope.CALLER, name, lasting, reason, as_json=as_json)


@app.command(name="key")
def pause_key(
    name: Annotated[str, typer.Argument(help="ordering_key")], lasting: Lasting, reason: Why, *, as_json: AsJson = False
) -> None:
    _pause(PauseScope.KEY, name, lasting, reason, as_json=as_json)


@app.command(name="list")
def list_pauses(*, as_json: AsJson = False) -> None:
    rows = with_database(pauses.pauses)
    if as_json:
        print_json(rows)
    else:
        print_table("pause", COLUMNS, [asdict(row) for row in rows])


def _pause(scope: PauseScope, name: str, lasting: timedelta, reason: str, *, as_json: bool) -> None:
    own = not current_settings().database.schema_name
    if own and (why := unknown(scope, name)) is not None:
        raise typer.BadParameter(why.text(reader_language()))
    try:
        wanted = Pausing(scope, name, reason, lasting)
    except ValueError as error:
        raise typer.BadParameter(worded(error)) from None

    async def work(connection: Connection) -> Pause:
        async with transaction(connection) as after_commit:
            made = await pauses.pause(connection, wanted, actor(), after_commit)
            if made is None:
                raise CommandError(say("too_many_pauses", most=MOST))
            told = {"scope": scope, "name": name, "reason": made.reason, "until": made.until.isoformat()}
            await audited(connection, PAUSE, str(made.id), **told)
        return made

    made = with_database(work, atomic=False)
    if as_json:
        print_json(made)
    else:
        zone = current_settings().zone
        echo(say("paused", scope=scope, name=name, until=made.until.astimezone(zone), zone=zone.key, id=made.id))
