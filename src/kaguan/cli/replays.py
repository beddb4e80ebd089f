"""`kaguan task replay`。"""

from __future__ import annotations

import math
import sys
from datetime import datetime
from functools import partial
from typing import Annotated

import typer

from kaguan.audit.actions import TASK_REPLAY
from kaguan.audit.command_line import actor, audited
from kaguan.cli.asked import MOST, Asked
from kaguan.cli.configured import current_settings
from kaguan.cli.failure import CommandError
from kaguan.cli.kinds import OfType
from kaguan.cli.operating import PATIENCE, Timeout, Wait, report, wait_for
from kaguan.cli.printing import AsJson, echo, print_json, print_table
from kaguan.cli.session import with_database
from kaguan.cli.tree import group
from kaguan.cli.wording import reader_language, say
from kaguan.database.pool import Connection, transaction
from kaguan.outbox.operate import replay as replaying
from kaguan.outbox.operate.replay import REPLAY_RATE_LIMIT, Selection
from kaguan.outbox.operate.selection import answer
from kaguan.outbox.vocabulary import RETRYABLE, Priority, TaskStatus
from kaguan.product.exit_codes import ExitCode
from kaguan.words import zones
from kaguan.words.reasons import Reason

app = group("replay")

MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]
PREVIEWED = ("task_id", "type", "last_error", "finished_at")


@app.command()
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
    done = _replay(asked, as_json=as_json)
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


def _replay(asked: Asked, *, as_json: bool) -> replaying.Replayed | None:
    """重放；只看、不做的是 ``None``。

    Raises:
        CommandError: 条件不成立。
    """
    if asked.status not in RETRYABLE:
        raise CommandError(say("not_replayable", status=asked.status), ExitCode.USAGE)
    if asked.run and asked.dry_run:
        raise CommandError(say("run_or_dry_run"), ExitCode.USAGE)
    if asked.rate > REPLAY_RATE_LIMIT:
        raise CommandError(say("too_fast", most=REPLAY_RATE_LIMIT), ExitCode.USAGE)
    wanted = replaying.Replay(
        status=asked.status,
        type=asked.type,
        queue=asked.queue,
        error=asked.error or None,
        since=_aware(asked.since),
        until=_aware(asked.until, last=True),
        limit=asked.limit,
        rate=asked.rate,
        reason=asked.reason,
    )
    selected = None
    if not asked.run:
        selected = _preview(wanted, as_json=as_json)
        if asked.dry_run or as_json or not selected.shown or not (sys.stdin.isatty() and sys.stdout.isatty()):
            return None
        if not typer.confirm(say("replay_these", count=len(selected.shown))):
            return None
    return with_database(partial(_run, wanted, selected), atomic=False)


async def _run(wanted: replaying.Replay, selected: Selection | None, connection: Connection) -> replaying.Replayed:
    """一批一提交、一笔审计：再多也不长占锁。没看过的，此刻选定。"""
    if selected is None:
        selected = (await replaying.preview(connection, wanted, MOST, math.inf)).selection
    total = replaying.Replayed([], None, 0)
    for part in replaying.parts(selected) if selected.shown else [selected]:
        async with transaction(connection) as after_commit:
            done = await replaying.run_selection(connection, part, actor(), len(total.task_ids), after_commit)
            await audited(connection, TASK_REPLAY, **wanted.asked(), count=len(done.task_ids), skipped=done.skipped)
        last_due = done.last_due or total.last_due
        total = replaying.Replayed(total.task_ids + done.task_ids, last_due, total.skipped + done.skipped)
    return total


def _preview(wanted: replaying.Replay, *, as_json: bool) -> Selection:
    found = with_database(lambda connection: replaying.preview(connection, wanted, MOST, math.inf))
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
        return zones.read(moment.isoformat(), current_settings().zone, last=last)
    except (ValueError, OverflowError) as error:
        raise CommandError(str(error), ExitCode.USAGE) from None
