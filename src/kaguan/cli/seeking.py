"""`kaguan task find`。"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated
from uuid import UUID

import typer

from kaguan.cli.filters import Filters, filtered
from kaguan.cli.printing import AsJson, echo
from kaguan.cli.session import with_database
from kaguan.cli.tasks import print_tasks, public
from kaguan.cli.tree import group
from kaguan.cli.wording import reader_language, say
from kaguan.database.connecting import Connection
from kaguan.outbox.operate.record import TaskRecord
from kaguan.outbox.operate.summary import Summary, summaries
from kaguan.outbox.vocabulary import moment_of
from kaguan.product import searching
from kaguan.product.task_types import TASK_TYPES

FINDING = 10.0  # 秒：没看到头，找这么久

app = group("find")


@app.command()
@filtered(limit=20, most=1_000)
def find(filters: Filters, text: Annotated[str, typer.Argument(help="sought")], *, as_json: AsJson = False) -> None:
    language = reader_language()
    tasks, told, older = _find(filters, text)
    print_tasks([public(task, language, told.get(task.id)) for task in tasks], as_json=as_json)
    if older is not None and not as_json:
        echo(say("looked_back", moment=moment_of(older).isoformat(timespec="milliseconds")))


def _find(filters: Filters, text: str) -> tuple[list[TaskRecord], dict[UUID, Summary], UUID | None]:
    """找到的与它们的摘要；没看到头的，看到了哪一个。"""

    async def work(connection: Connection) -> tuple[list[TaskRecord], dict[UUID, Summary], UUID | None]:
        clock = asyncio.get_running_loop().time
        until, where, limit = clock() + FINDING, filters.where(), filters.limit
        page = await searching.find(connection, where, text, limit, TASK_TYPES)
        rows = page.rows
        while page.older is not None and len(rows) < limit and clock() < until:
            where = replace(where, before=page.older)
            page = await searching.find(connection, where, text, limit - len(rows), TASK_TYPES)
            rows += page.rows
        return rows, await summaries(connection, [row.id for row in rows], TASK_TYPES), page.older

    return with_database(work)
