"""`kaguan outbox`。"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer

from kaguan.audit.actions import OUTBOX_REDRIVE
from kaguan.audit.command_line import audited
from kaguan.cli.printing import AsJson, echo, print_json, print_table
from kaguan.cli.session import with_database
from kaguan.database.pool import Connection
from kaguan.outbox.operate import backlog
from kaguan.outbox.recover import store
from kaguan.outbox.vocabulary import PriorityRank

app = typer.Typer(help="发件箱：待交付与重投。", no_args_is_help=True)

COUNT_CAP = 1_000_000  # 数到这里为止：不在大表上数到底
PAGE = 1_000
CAUSE = "operator"
COLUMNS = {"queue": "队列", "waiting": "待交付", "oldest_due_seconds": "最老的已等（秒）"}


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """每个队列还有多少待交付、最老的等了多久、搁置了多少。"""

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
        print_table(COLUMNS, found["queues"], "没有队列")
        echo(f"搁置 {found['parked']} 行")


@app.command()
def redrive(
    older: Annotated[float, typer.Option("--older-than", min=0, help="只动交出超过这么多秒的")] = 0.0,
    *,
    as_json: AsJson = False,
) -> None:
    """把已交出、还没有开始的任务全部重投（投递号加一，旧的投递作废，不会做两遍）。"""

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
        echo(f"已重投 {count} 个任务")
