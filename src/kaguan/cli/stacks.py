"""`kaguan task stack`：问做着它的 worker，说给人听。"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from functools import partial
from typing import Annotated
from uuid import UUID

import typer

from kaguan.cli.configured import current_settings
from kaguan.cli.failure import CommandError
from kaguan.cli.printing import AsJson, echo, print_facts, print_json, print_table
from kaguan.cli.session import open_connection
from kaguan.cli.tree import group
from kaguan.cli.wording import reader_language, say
from kaguan.config import Settings
from kaguan.outbox.operate.doing import Doing, doing
from kaguan.product.exit_codes import ExitCode
from kaguan.queues.client import open_redis

app = group("stack")

FACTS = ("task_id", "type", "worker", "host", "pid", "version", "since", "progress")
SESSIONS = ("pid", "application", "role", "state", "seconds", "waits", "blocked_by", "statement")


@app.command()
def stack(task_id: Annotated[UUID, typer.Argument(help="task_id")], *, as_json: AsJson = False) -> None:
    found = asyncio.run(_ask(current_settings(), task_id))
    note = found.note and found.note.text(reader_language())
    told = asdict(found) | {"note": note}
    if as_json:
        print_json(told)
        return
    print_facts({name: told[name] for name in FACTS if told[name] is not None})
    if note:
        echo(note)
    for frame in found.frames:
        echo(say("frame", **frame))
    if found.sessions:
        echo("")
        print_table("session", SESSIONS, [asdict(one) for one in found.sessions])


async def _ask(settings: Settings, task_id: UUID) -> Doing:
    """问得到才算。

    Raises:
        CommandError: 没有配置 Redis。
    """
    if not settings.redis.url.get_secret_value():
        raise CommandError(say("no_redis"), ExitCode.USAGE)
    async with open_redis(settings.redis, namespace=settings.database.namespace) as redis:
        return await doing(partial(open_connection, settings), redis, task_id)
