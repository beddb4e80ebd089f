"""`kaguan limit`。"""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from kaguan.audit.actions import LIFT, LIMIT
from kaguan.audit.command_line import actor, audited
from kaguan.cli.configured import current_settings
from kaguan.cli.failure import CommandError
from kaguan.cli.pauses import Lasting, Why
from kaguan.cli.printing import AsJson, echo, print_json, print_table
from kaguan.cli.session import with_database
from kaguan.cli.tree import group
from kaguan.cli.wording import reader_language, say, worded
from kaguan.database.pool import Connection, transaction
from kaguan.outbox.operate import limits
from kaguan.outbox.operate.limits import MOST, Limit, Limiting
from kaguan.outbox.vocabulary import HIGHEST_AT_ONCE, HIGHEST_RATE, LimitScope
from kaguan.product.limitable import configured, unknown
from kaguan.sims.vocabulary import Carrier

app = group("limit")

COLUMNS = ("scope", "name", "at_once", "per_second", "until", "reason", "actor")

AtOnce = Annotated[int | None, typer.Option(min=1, max=HIGHEST_AT_ONCE, help="calls_at_once")]
Outside = Annotated[str, typer.Argument(help="outside", autocompletion=lambda: list(Carrier))]


@app.command(name="type")
def limit_type(
    name: Annotated[str, typer.Argument(help="type")],
    at_once: Annotated[int, typer.Argument(min=1, max=HIGHEST_AT_ONCE, metavar="N", help="tasks_at_once")],
    lasting: Lasting,
    reason: Why,
    *,
    as_json: AsJson = False,
) -> None:
    _limit(LimitScope.TYPE, name, (at_once, None), lasting, reason, as_json=as_json)


@app.command(name="carrier")
def limit_carrier(
    name: Outside,
    lasting: Lasting,
    reason: Why,
    rate: Annotated[
        int | None, typer.Argument(min=1, max=HIGHEST_RATE, metavar="RATE", help="calls_per_second")
    ] = None,
    *,
    at_once: AtOnce = None,
    as_json: AsJson = False,
) -> None:
    _limit(LimitScope.CARRIER, name, (at_once, rate), lasting, reason, as_json=as_json)


@app.command(name="list")
def list_limits(*, as_json: AsJson = False) -> None:
    rows = with_database(limits.limits)
    if as_json:
        settings = current_settings()
        print_json([{**asdict(row), "configured": configured(settings, row.scope, row.name)._asdict()} for row in rows])
    else:
        print_table("limit", COLUMNS, [asdict(row) for row in rows])


@app.command(name="clear")
def clear(
    scope: Annotated[LimitScope, typer.Argument(help="limit_scope")],
    name: Annotated[str, typer.Argument(help="limit_name")],
    *,
    as_json: AsJson = False,
) -> None:
    async def work(connection: Connection) -> Limit:
        async with transaction(connection) as after_commit:
            ended = await limits.lift(connection, scope, name, actor(), after_commit)
            await audited(connection, LIFT, name, scope=scope)
        return ended

    ended = with_database(work, atomic=False)
    if as_json:
        print_json(ended)
    else:
        echo(say("limit_cleared", scope=ended.scope, name=ended.name))


def _limit(
    scope: LimitScope,
    name: str,
    values: tuple[int | None, int | None],
    lasting: timedelta,
    reason: str,
    *,
    as_json: bool,
) -> None:
    own = not current_settings().database.schema_name
    if own and (why := unknown(scope, name)) is not None:
        raise typer.BadParameter(why.text(reader_language()))
    if not own and scope is LimitScope.CARRIER:
        raise typer.BadParameter(say("calls_are_theirs"))
    at_once, per_second = values
    try:
        wanted = Limiting(scope, name, reason, lasting, at_once, per_second)
    except ValueError as error:
        raise typer.BadParameter(worded(error)) from None

    async def work(connection: Connection) -> Limit:
        async with transaction(connection) as after_commit:
            made = await limits.limit(connection, wanted, actor(), after_commit)
            if made is None:
                raise CommandError(say("too_many_limits", most=MOST))
            told = {"at_once": at_once, "per_second": per_second, "until": made.until.isoformat()}
            await audited(connection, LIMIT, name, scope=scope, reason=made.reason, **told)
        return made

    made = with_database(work, atomic=False)
    if as_json:
        print_json(made)
    else:
        zone = current_settings().zone
        echo(say("limit_set", scope=scope, name=name, until=made.until.astimezone(zone), zone=zone.key))
