"""一个计划做过的、错过的、接下来的几次；人要它此刻做一次。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

from psycopg.rows import class_row

from kaguan.config.schedules import Schedule
from kaguan.database.pool import AfterCommit, Connection
from kaguan.database.sql import load
from kaguan.outbox.accept.acceptance import Accepted, Count, Submission, accept_one, uncounted
from kaguan.outbox.schedule.checking import payload_of
from kaguan.outbox.schedule.due import between, latest_until, upcoming
from kaguan.outbox.schedule.service import GRACE, PACKAGE, PRINCIPAL, due_of, key_of, named, states
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.vocabulary import Priority

NEXT = 5
SHOWN = 10
SCAN = 1_000


@dataclass(frozen=True, slots=True)
class Fired:
    """触发了的一个任务。"""

    id: UUID
    request_id: str | None
    status: str
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Run:
    """一次，排在 ``at``。``by_hand``：人要它做的。``task`` 为空：到了期而没有做：错过了没有补，或那时停用着。"""

    at: datetime
    by_hand: bool
    task: Fired | None


@dataclass(frozen=True, slots=True)
class History:
    """``runs`` 新的在前，至多 :data:`SHOWN` 次；``upcoming`` 是接下来的 :data:`NEXT` 次，停用的没有。"""

    upcoming: list[datetime]
    runs: list[Run]


async def history(connection: Connection, schedules: Sequence[Schedule], name: str) -> History:
    """任务还在库里的那几次，与其间错过的。

    Raises:
        DomainError: 配置里没有这个计划（1004）。
    """
    schedule = named(schedules, name)
    (state,) = await states(connection, [schedule])
    wanted = {"key": key_of(schedule), "principal": PRINCIPAL, "cap": SCAN, "limit": SHOWN}
    async with connection.cursor(row_factory=class_row(Fired)) as cursor:
        await cursor.execute(load(PACKAGE, "runs"), wanted)
        tasks = await cursor.fetchall()
    runs: dict[datetime, Run] = {}
    if tasks:
        latest = latest_until(schedule.cron, schedule.zone, state.now - GRACE)
        since = tasks[-1].created_at - GRACE
        expected = between(schedule.cron, schedule.zone, since, latest, SHOWN) if latest >= since else []
        runs = {due: Run(due, by_hand=False, task=None) for due in expected}
    for task in tasks:
        due = due_of(schedule, task.request_id)
        at = task.created_at if due is None else due
        runs[at] = Run(at, by_hand=due is None, task=task)
    coming = islice(upcoming(schedule.cron, schedule.zone, state.now), NEXT) if state.enabled else ()
    return History(list(coming), sorted(runs.values(), key=lambda run: run.at, reverse=True)[:SHOWN])


async def run_now(
    connection: Connection,
    schedules: Sequence[Schedule],
    types: TaskTypes,
    name: str,
    *,
    max_attempts: int,
    after_commit: AfterCommit,
    count: Count = uncounted,
) -> tuple[Schedule, Accepted]:
    """此刻做一次，停用着也做；日子是今天，上一次还没完就排在它后面。连接已在事务中。

    Raises:
        DomainError: 配置里没有这个计划（1004）。
    """
    schedule = named(schedules, name)
    payload = payload_of(schedule, types, datetime.now(UTC).astimezone(schedule.zone).date())
    queue, key = Priority(schedule.queue), key_of(schedule)
    submission = Submission(types[schedule.type], payload, queue, PRINCIPAL, ordering_key=key)
    return schedule, await accept_one(connection, submission, max_attempts, after_commit, count)
