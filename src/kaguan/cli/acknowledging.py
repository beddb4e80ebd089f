"""`kaguan acknowledge`。"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

import typer

from kaguan.audit.actions import ACKNOWLEDGE
from kaguan.audit.command_line import actor, audited
from kaguan.cli.configured import current_settings
from kaguan.cli.failure import CommandError
from kaguan.cli.pauses import Lasting, Why
from kaguan.cli.printing import AsJson, echo, print_json
from kaguan.cli.session import open_connection
from kaguan.cli.tree import group
from kaguan.cli.wording import say, worded
from kaguan.config import Settings
from kaguan.queues.client import open_redis
from kaguan.verdict import acknowledging, service
from kaguan.verdict.acknowledging import MOST, Acknowledging
from kaguan.verdict.model import Acknowledgement, ConcernCode

app = group("acknowledging")


@app.command()
def acknowledge(
    code: Annotated[ConcernCode, typer.Argument(metavar="CODE", help="concern_code")],
    lasting: Lasting,
    reason: Why,
    subject: Annotated[str, typer.Argument(help="concern_subject")] = "",
    *,
    as_json: AsJson = False,
) -> None:
    try:
        wanted = Acknowledging(code, subject, reason, lasting)
    except ValueError as error:
        raise typer.BadParameter(worded(error)) from None
    settings = current_settings()
    made = asyncio.run(_acknowledge(settings, wanted))
    if as_json:
        print_json(made)
    else:
        zone = settings.zone
        echo(say("acknowledged", code=made.code, until=made.until.astimezone(zone), zone=zone.key, id=made.id))


async def _acknowledge(settings: Settings, wanted: Acknowledging) -> Acknowledgement:
    async with open_redis(settings.redis, namespace=settings.database.namespace) as redis:
        _, verdict = await service.take(partial(open_connection, settings), redis, settings)
    concern = wanted.of(verdict.concerns)
    if concern is None:
        raise CommandError(say("no_such_concern", code=wanted.code))
    async with open_connection(settings) as connection, connection.transaction():
        made = await acknowledging.acknowledge(connection, wanted, concern, actor())
        if made is None:
            raise CommandError(say("too_many_acknowledged", most=MOST))
        told = {"subject": made.subject, "reason": made.reason, "until": made.until.isoformat()}
        await audited(connection, ACKNOWLEDGE, made.code, **told)
    return made
