"""`kaguan task watch`、`kaguan task replay`，与等任务结束的办法。"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated
from uuid import UUID

import typer

from kaguan.audit.actions import TASK_REPLAY
from kaguan.audit.command_line import actor, audited
from kaguan.cli.failure import CommandError
from kaguan.cli.printing import AsJson, echo, print_json, print_table
from kaguan.cli.progress import following
from kaguan.cli.session import with_database
from kaguan.cli.wording import reader_language, say
from kaguan.config import load_settings
from kaguan.database.pool import Connection, transaction
from kaguan.outbox.operate import replay as replaying
from kaguan.outbox.operate.replay import REPLAY_RATE_LIMIT, Selection
from kaguan.outbox.operate.selection import answer
from kaguan.outbox.operate.watching import Watched, watch
from kaguan.outbox.vocabulary import RETRYABLE, Priority, TaskStatus
from kaguan.product.exit_codes import ExitCode
from kaguan.product.task_types import TypeName
from kaguan.words import zones
from kaguan.words.reasons import Reason
from kaguan.words.units import HOUR

MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]
MOST = 100_000  # 一次至多重放几个；分批做
PREVIEWED = ("task_id", "type", "last_error", "finished_at")

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
    task_type: Annotated[TypeName | None, typer.Option("--type", help="type")] = None,
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
    rate: Annotated[float, typer.Option(min=0.1, max=REPLAY_RATE_LIMIT, help="rate")] = 50.0,
    seconds: Timeout = PATIENCE,
    run: Annotated[bool, typer.Option("--run", "--yes", help="run")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="dry_run")] = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    if status not in RETRYABLE:
        raise CommandError(say("not_replayable", status=status), ExitCode.USAGE)
    if run and dry_run:
        raise CommandError(say("run_or_dry_run"), ExitCode.USAGE)
    wanted = replaying.Replay(
        status=status,
        type=task_type,
        queue=queue,
        error=error or None,
        since=_aware(since),
        until=_aware(until, last=True),
        limit=limit,
        rate=rate,
        reason=reason,
    )
    selected = None
    if not run:
        selected = _preview(wanted, as_json=as_json)
        if dry_run or as_json or not selected.shown or not (sys.stdin.isatty() and sys.stdout.isatty()):
            return
        if not typer.confirm(say("replay_these", count=len(selected.shown))):
            return

    done = with_database(partial(_run, wanted, selected), atomic=False)
    _done(done, seconds, wait=wait, as_json=as_json)


async def _run(wanted: replaying.Replay, selected: Selection | None, connection: Connection) -> replaying.Replayed:
    """一批一提交、一笔审计：再多也不长占锁。没看过的，此刻选定。"""
    if selected is None:
        selected = (await replaying.preview(connection, wanted, MOST)).selection
    total = replaying.Replayed([], None, 0)
    for part in replaying.parts(selected) if selected.shown else [selected]:
        async with transaction(connection) as after_commit:
            done = await replaying.run_selection(connection, part, actor(), len(total.task_ids), after_commit)
            await audited(connection, TASK_REPLAY, **wanted.asked(), count=len(done.task_ids), skipped=done.skipped)
        last_due = done.last_due or total.last_due
        total = replaying.Replayed(total.task_ids + done.task_ids, last_due, total.skipped + done.skipped)
    return total


def _done(done: replaying.Replayed, seconds: float, *, wait: bool, as_json: bool) -> None:
    if wait and done.task_ids:
        report(wait_for(done.task_ids, seconds, as_json=as_json), as_json=as_json)
    elif as_json:
        print_json(
            {"dry_run": False, "replayed": len(done.task_ids), "skipped": done.skipped, "last_due": done.last_due}
        )
    else:
        said = "replayed_some" if done.skipped else "replayed"
        echo(say(said, count=len(done.task_ids), skipped=done.skipped))


def _preview(wanted: replaying.Replay, *, as_json: bool) -> Selection:
    found = with_database(lambda connection: replaying.preview(connection, wanted, MOST))
    if as_json:
        print_json(answer(found, reader_language()))
        return found.selection
    language = reader_language()
    reasons = [row | {"last_error": Reason.of(row["last_error"] or {}).text(language)} for row in found.matched]
    print_table("replay", PREVIEWED, reasons)
    if found.matched:
        matching = say("more_than", count=MOST) if found.matching > MOST else str(found.matching)
        more = say("limited", matching=matching, total=found.total) if found.limited else ""
        shown = say("shown", count=len(found.matched)) if found.total > len(found.matched) else ""
        echo(say("would_replay", total=found.total, more=more, shown=shown))
    return found.selection


def _aware(moment: datetime | None, *, last: bool = False) -> datetime | None:
    """不带偏移的在配置的时区里。

    Raises:
        CommandError: 那个时区没有这个时刻（夏令时开始时跳过的）。
    """
    if moment is None:
        return None
    try:
        return zones.read(moment.isoformat(), load_settings().zone, last=last)
    except (ValueError, OverflowError) as error:
        raise CommandError(str(error), ExitCode.USAGE) from None
