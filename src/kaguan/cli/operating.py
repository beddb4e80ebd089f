"""`kaguan task watch`、`kaguan task replay`，与等任务结束的办法。"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer

from kaguan.cli.asked import MOST, Asked
from kaguan.cli.failure import CommandError
from kaguan.cli.kinds import OfType
from kaguan.cli.printing import AsJson, echo, print_json
from kaguan.cli.progress import following
from kaguan.cli.session import with_database
from kaguan.cli.wording import say
from kaguan.database.pool import Connection
from kaguan.outbox.operate.watching import Watched, watch
from kaguan.outbox.vocabulary import Priority, TaskStatus
from kaguan.product.exit_codes import ExitCode
from kaguan.words.units import HOUR

MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]

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


def watch_tasks(
    task_ids: Annotated[list[UUID], typer.Argument(help="task_ids")],
    seconds: Timeout = PATIENCE,
    *,
    as_json: AsJson = False,
) -> None:
    report(wait_for(task_ids, seconds, as_json=as_json), as_json=as_json)


def replay(  # noqa: PLR0913 一个参数一个选项
    status: Annotated[TaskStatus, typer.Option(help="replayable")] = TaskStatus.FAILED,
    task_type: OfType = None,
    *,
    queue: Annotated[Priority | None, typer.Option(help="queue")] = None,
    error: Annotated[str | None, typer.Option(help="error")] = None,
    reason: Annotated[str | None, typer.Option(help="reason")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=MOMENTS, metavar="moment", help="since"),
    ] = None,
    until: Annotated[datetime | None, typer.Option(formats=MOMENTS, metavar="moment", help="until")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="limit")] = 100,
    rate: Annotated[float, typer.Option(min=0.1, help="rate")] = 50.0,
    seconds: Timeout = PATIENCE,
    run: Annotated[bool, typer.Option("--run", "--yes", help="run")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="dry_run")] = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    from kaguan.cli import replays  # noqa: PLC0415 见其模块说明

    asked = Asked(
        status=status,
        type=task_type,
        queue=queue,
        error=error,
        reason=reason,
        since=since,
        until=until,
        limit=limit,
        rate=rate,
        run=run,
        dry_run=dry_run,
    )
    done = replays.replay(asked, as_json=as_json)
    if done is None:
        return
    if wait and done.task_ids:
        report(wait_for(done.task_ids, seconds, as_json=as_json), as_json=as_json)
    elif as_json:
        print_json(
            {"dry_run": False, "replayed": len(done.task_ids), "skipped": done.skipped, "last_due": done.last_due}
        )
    else:
        said = "replayed_some" if done.skipped else "replayed"
        echo(say(said, count=len(done.task_ids), skipped=done.skipped))
