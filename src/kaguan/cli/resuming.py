"""`kaguan resume`。"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from kaguan.audit.actions import RESUME
from kaguan.audit.command_line import actor, audited
from kaguan.cli.printing import AsJson, echo, print_json
from kaguan.cli.session import with_database
from kaguan.cli.tree import group
from kaguan.cli.wording import say
from kaguan.database.pool import Connection, transaction
from kaguan.outbox.operate import pauses
from kaguan.outbox.operate.pauses import Pause

app = group("resuming")


@app.command()
def resume(pause_id: Annotated[UUID, typer.Argument(help="pause_id")], *, as_json: AsJson = False) -> None:
    async def work(connection: Connection) -> Pause:
        async with transaction(connection) as after_commit:
            ended = await pauses.resume(connection, pause_id, actor(), after_commit)
            await audited(connection, RESUME, str(pause_id), scope=ended.scope, name=ended.name)
        return ended

    ended = with_database(work, atomic=False)
    if as_json:
        print_json(ended)
    else:
        echo(say("resumed", scope=ended.scope, name=ended.name))
