"""等任务结束：`kaguan task watch` 与各命令的 ``--wait``。"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import typer

from kaguan.cli.failure import CommandError
from kaguan.cli.printing import echo, print_json
from kaguan.cli.progress import following
from kaguan.cli.session import with_database
from kaguan.cli.wording import say
from kaguan.database.connecting import Connection
from kaguan.outbox.operate.watching import Watched, watch
from kaguan.outbox.vocabulary import TaskStatus
from kaguan.product.exit_codes import ExitCode
from kaguan.words.units import HOUR

Wait = Annotated[bool, typer.Option("--wait", help="wait")]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="timeout")]
PATIENCE = float(HOUR)


def wait_for(task_ids: Sequence[UUID], seconds: float, *, as_json: bool) -> list[Watched]:
    """等到都有结局，途中画进度。

    Raises:
        CommandError: 没有这个任务，或时限到了还没结束。
    """

    async def work(connection: Connection) -> list[Watched]:
        with following(quiet=as_json) as look:
            return await watch(connection, task_ids, seconds, look)

    try:
        found = with_database(work, atomic=False)
    except TimeoutError:
        raise CommandError(say("still_going", seconds=seconds)) from None
    missing = set(task_ids) - {task.id for task in found}
    if missing:
        raise CommandError(say("no_task", task=min(missing)))
    return found


def report(found: Sequence[Watched], *, as_json: bool) -> None:
    """说出各自的结局；有一个没做成，退出码就是 1。"""
    if as_json:
        print_json([{"task_id": task.id, "type": task.type, "status": task.status} for task in found])
    else:
        for task in found:
            echo(say("now", task=task.id, status=task.status))
    if any(task.status != TaskStatus.SUCCEEDED for task in found):
        raise typer.Exit(ExitCode.FAILURE)
