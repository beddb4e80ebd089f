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
from kaguan.cli.printing import AsJson, echo, print_json, print_table, reader_language
from kaguan.cli.progress import following
from kaguan.cli.session import with_database
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
PREVIEWED = {"task_id": "任务", "type": "类型", "last_error": "原因", "finished_at": "结束"}

Wait = Annotated[bool, typer.Option("--wait", help="等到有结局；失败则退出码 1")]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="至多等几秒")]
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
        raise CommandError(f"{seconds:g} 秒之后还没有结局；任务仍在进行，`kaguan task watch` 可以接着看") from None
    missing = set(task_ids) - {task.id for task in found}
    if missing:
        raise CommandError(f"没有任务 {min(missing)}")
    return found


def report(found: Sequence[Watched], *, as_json: bool) -> None:
    """说出各自的结局；有一个没做成，退出码就是 1。"""
    if as_json:
        print_json([{"task_id": task.id, "type": task.type, "status": task.status} for task in found])
    else:
        for task in found:
            echo(f"任务 {task.id} 现在是 {task.status}")
    if any(task.status != TaskStatus.SUCCEEDED for task in found):
        raise typer.Exit(ExitCode.FAILURE)


def watch_tasks(
    task_ids: Annotated[list[UUID], typer.Argument(help="任务号，可给几个")],
    seconds: Timeout = PATIENCE,
    *,
    as_json: AsJson = False,
) -> None:
    """看着任务做，直到有结局。"""
    report(wait_for(task_ids, seconds, as_json=as_json), as_json=as_json)


def replay(  # noqa: PLR0913 一个参数一个选项
    status: Annotated[TaskStatus, typer.Option(help="failed 或 uncertain")] = TaskStatus.FAILED,
    task_type: Annotated[TypeName | None, typer.Option("--type", help="类型")] = None,
    *,
    queue: Annotated[Priority | None, typer.Option(help="队列")] = None,
    error: Annotated[str | None, typer.Option(help="错误原因里的一段字，或其中任一个代号")] = None,
    reason: Annotated[str | None, typer.Option(help="整个错误原因（空白归一、前 200 字）；空串即没有原因的")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=MOMENTS, metavar="时刻", help="受理不早于，如 2026-01-31；KAGUAN_TIME_ZONE 的"),
    ] = None,
    until: Annotated[datetime | None, typer.Option(formats=MOMENTS, metavar="时刻", help="受理早于")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="至多几个")] = 100,
    rate: Annotated[float, typer.Option(min=0.1, max=REPLAY_RATE_LIMIT, help="每秒至多几个")] = 50.0,
    seconds: Timeout = PATIENCE,
    run: Annotated[bool, typer.Option("--run", "--yes", help="不问，真做；不给就先看会选中谁")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="只看，不问做不做")] = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """按条件重放：先看会选中谁；在终端里接着问，答是就只重放看到的那些。不在终端里的加 --run 真做。"""
    if status not in RETRYABLE:
        raise CommandError(f"{status} 状态的任务不能重放：允许 failed、uncertain", ExitCode.USAGE)
    if run and dry_run:
        raise CommandError("--run 与 --dry-run 只能给一个", ExitCode.USAGE)
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
        if not typer.confirm(f"重放这 {len(selected.shown)} 个？"):
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
        skipped = f"；另有 {done.skipped} 个没有重放：已不是看到时的样子，或正被别人处理" if done.skipped else ""
        echo(f"已重放 {len(done.task_ids)} 个任务{skipped}")


def _preview(wanted: replaying.Replay, *, as_json: bool) -> Selection:
    found = with_database(lambda connection: replaying.preview(connection, wanted, MOST))
    if as_json:
        print_json(answer(found, reader_language()))
        return found.selection
    language = reader_language()
    reasons = [row | {"last_error": Reason.of(row["last_error"] or {}).text(language)} for row in found.matched]
    print_table(PREVIEWED, reasons, "没有符合条件的任务")
    if found.matched:
        listed = f"，以上列了 {len(found.matched)} 个" if found.total > len(found.matched) else ""
        matching = f"超过 {MOST}" if found.matching > MOST else str(found.matching)
        more = (
            f"（符合条件的不止这些：有 {matching} 个，被 --limit 截在最老的 {found.total} 个）" if found.limited else ""
        )
        echo(f"会重放 {found.total} 个{more}{listed}；加 --run 真做")
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
