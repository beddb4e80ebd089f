"""`kaguan outbox`。"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer

from kaguan.audit.actions import OUTBOX_REDRIVE
from kaguan.audit.command_line import audited
from kaguan.cli.printing import AsJson, echo, print_json, print_table
from kaguan.cli.session import with_database
from kaguan.cli.tree import group
from kaguan.cli.wording import say
from kaguan.database.connecting import Connection
from kaguan.outbox.operate import backlog
from kaguan.outbox.recover import store
from kaguan.outbox.vocabulary import PriorityRank

app = group("outbox")

COUNT_CAP = 1_000_000  # 数到这里为止：不在大表上数到底
PAGE = 1_000
CAUSE = "operator"
COLUMNS = ("queue", "waiting", "oldest_due_seconds")


@app.command()
def status(*, as_json: AsJson = False) -> None:
    async def work(connection: Connection) -> dict[str, Any]:
        queues = [
            {
                "queue": PriorityRank(row.priority).name.lower(),
                "waiting": row.waiting,
                "oldest_due_seconds": row.oldest_due_seconds,
            }
            for row in await backlog.backlog(connection, COUNT_CAP)
        ]
        return {"queues": queues, "parked": await backlog.parked(connection, COUNT_CAP)}

    found = with_database(work)
    if as_json:
        print_json(found)
    else:
        print_table("outbox", COLUMNS, found["queues"])
        echo(say("parked", count=found["parked"]))


@app.command()
def redrive(
    older: Annotated[float, typer.Option("--older-than", min=0, help="older_than")] = 0.0,
    *,
    as_json: AsJson = False,
) -> None:
    async def work(connection: Connection) -> int:
        cursor = await connection.execute("select clock_timestamp()")
        row = await cursor.fetchone()
        moment = row[0] - timedelta(seconds=older) if row else None
        total = 0
        while moment is not None:
            async with connection.transaction():
                moved = await store.redrive(connection, await store.lost_epoch(connection, moment, PAGE), CAUSE)
                if moved or not total:
                    await audited(connection, OUTBOX_REDRIVE, None, older=older, count=moved)
            total += moved
            if moved == 0:  # 余下的正被别人锁着：他们会处理
                break
        return total

    count = with_database(work, atomic=False)  # 一页一提交、一行审计：积压再大也不长占锁，停在半路的也留了痕
    if as_json:
        print_json({"redriven": count})
    else:
        echo(say("redriven", count=count))
