"""`kaguan task show --payload|cancel|discard|retry|resolve` 背后的事。另成一个模块：要导入的多。"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Any, Literal
from uuid import UUID

import typer

from kaguan.audit.actions import TASK_CHANGE, TASK_PAYLOAD
from kaguan.audit.command_line import actor, audited
from kaguan.cli.failure import CommandError
from kaguan.cli.filters import Filters
from kaguan.cli.printing import echo, print_json, print_table
from kaguan.cli.session import with_database
from kaguan.cli.wording import joined, say, worded
from kaguan.database.pool import Connection, transaction
from kaguan.outbox.operate import changing, decisions, record, sweeping
from kaguan.outbox.operate.changing import Changing
from kaguan.outbox.operate.sweeping import ALLOWED, Chosen, Deed, Preview, Sweep, Swept
from kaguan.outbox.vocabulary import Priority, TaskStatus
from kaguan.product.exit_codes import ExitCode
from kaguan.words.errors import not_found

LOOKING = 120.0  # 秒：条件没有索引的，找这么久
PREVIEWED = ("task_id", "type", "queue", "status", "created_at")


def decide(action: Literal["retry", "cancel", "resolve"], task_id: UUID, *said: str) -> TaskStatus:
    """对一个任务。"""
    act: Callable[..., Awaitable[TaskStatus]] = getattr(decisions, action)

    async def work(connection: Connection) -> TaskStatus:
        async with transaction(connection) as after_commit:
            status = await act(connection, task_id, actor(), *said, after_commit)
            noted = {"note": said[-1]} if said else {}
            await audited(connection, f"task.{action}", str(task_id), status=status, **noted)
        return status

    return with_database(work, atomic=False)


def change(task_id: UUID, reason: str, priority: Priority | None, due: datetime | None) -> TaskStatus:
    """改一个还没开始的。

    Raises:
        BadParameter: 没说改成什么，或为什么。
    """
    try:
        wanted = Changing(reason, priority, due)
    except ValueError as error:
        raise typer.BadParameter(worded(error)) from None

    async def work(connection: Connection) -> TaskStatus:
        async with transaction(connection) as after_commit:
            status = await changing.change(connection, task_id, actor(), wanted, after_commit)
            told = {"priority": priority, "schedule_at": due and due.isoformat(), "reason": reason}
            await audited(connection, TASK_CHANGE, str(task_id), **told)
        return status

    return with_database(work, atomic=False)


def payload(task_id: UUID, reason: str) -> dict[str, Any]:
    """载荷；谁、为什么看了哪一个，进审计。

    Raises:
        DomainError: 1004，没有这个任务。
    """

    async def work(connection: Connection) -> dict[str, Any]:
        found = await record.payload_of(connection, task_id)
        if found is None:
            raise not_found(f"任务 {task_id} ", f"task {task_id}")
        await audited(connection, TASK_PAYLOAD, str(task_id), reason=reason)
        return found[1]

    return with_database(work)


def sweep(named: str, filters: Filters, *, run: bool, dry_run: bool, as_json: bool) -> None:
    """对选中的：先看会选中谁；终端里接着问，不在终端里的要 ``--run``。

    Raises:
        CommandError: 条件不成立。
    """
    deed = Deed(named)
    if run and dry_run:
        raise CommandError(say("run_or_dry_run"), ExitCode.USAGE)
    if not filters.given:
        raise CommandError(say("no_filter"), ExitCode.USAGE)
    if wrong := set(filters.status or ()) - ALLOWED[deed]:
        raise CommandError(say("not_for_status", statuses=joined(sorted(wrong))), ExitCode.USAGE)
    wanted = Sweep(deed, filters.where(), filters.limit)
    found = with_database(lambda connection: sweeping.preview(connection, wanted, LOOKING))
    if not run:
        _show(found, as_json=as_json)
        if dry_run or as_json or not found.total or not (sys.stdin.isatty() and sys.stdout.isatty()):
            return
        if not typer.confirm(say(f"{deed}_these", count=found.total)):
            return
    swept = with_database(partial(_run, found.chosen), atomic=False)
    if as_json:
        print_json({"dry_run": False, **asdict(swept)})
    else:
        echo(say("swept", count=swept.done, asked=swept.asked, skipped=swept.skipped))


def _show(found: Preview, *, as_json: bool) -> None:
    rows = [{"task_id": row.id, **{name: getattr(row, name) for name in PREVIEWED[1:]}} for row in found.matched]
    told = {"total": found.total, "limited": found.limited, "complete": found.complete, "counts": found.counts}
    if as_json:
        print_json({"dry_run": True, **told, "matched": rows})
        return
    print_table("sweep", PREVIEWED, rows)
    if found.total:
        counts = joined([f"{status} {count}" for status, count in found.counts.items()])
        echo(say("would_more" if found.limited or not found.complete else "would", total=found.total, counts=counts))


async def _run(chosen: Chosen, connection: Connection) -> Swept:
    """一批一提交、一笔审计：再多也不长占锁。"""
    total = Swept()
    for part in sweeping.parts(chosen):
        async with transaction(connection) as after_commit:
            swept = await sweeping.run(connection, part, actor(), after_commit)
            await audited(connection, f"task.{chosen.sweep.deed}", **chosen.sweep.asked(), **asdict(swept))
        total += swept
    return total
