"""定时计划的规则：到期的只触发一次，错过的按策略，停用的不触发。何时提交由调用者定。"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from kaguan.config.schedules import Misfire, Schedule
from kaguan.database.pool import AfterCommit, Connection, Pool, transaction
from kaguan.database.sql import load
from kaguan.outbox.accept.acceptance import Submission, accept_many
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.schedule.checking import payload_of
from kaguan.outbox.schedule.due import between, latest_until, next_after
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.vocabulary import Priority
from kaguan.words.errors import Code, DomainError, refused
from kaguan.words.log import get_logger
from kaguan.words.reasons import Reason

log = get_logger(__name__)

PACKAGE = "kaguan.outbox.schedule"
PRINCIPAL = "schedule"  # 触发的任务以此名义提交
DUE = "%Y-%m-%dT%H:%M:%SZ"
GRACE = timedelta(minutes=1)  # 晚这么多以内算准时，不算错过


@dataclass(frozen=True, slots=True)
class State:
    """一个计划的现状；``definition``、``next_due_at`` 为空即还没有 relay 登记过它。"""

    name: str
    definition: str | None
    enabled: bool
    last_fired_at: datetime | None
    next_due_at: datetime | None
    now: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """被本次事务锁住的到期计划。"""

    next_due_at: datetime
    now: datetime


@dataclass(frozen=True, slots=True)
class Fired:
    """办完了到期的。``due`` 是最近一次；``task_ids`` 为空：按策略没有补，或早已触发过。"""

    due: datetime
    task_ids: tuple[UUID, ...]


async def states(connection: Connection, schedules: Sequence[Schedule]) -> list[State]:
    """与 ``schedules`` 逐个对应。"""
    async with connection.cursor(row_factory=class_row(State)) as cursor:
        await cursor.execute(load(PACKAGE, "states"), {"names": [schedule.name for schedule in schedules]})
        return await cursor.fetchall()


async def due(connection: Connection, schedules: Sequence[Schedule], seen: dict[str, str]) -> list[Schedule]:
    """看起来到期的计划；新加的、改过的顺便登记（从现在起算，不补从前）。

    后起来的说了算：本进程登记过一次，又被别的 relay 改成别样的就听它的，不争来争去、谁的时刻也到不了；
    它到了期而没有人办，才收回来。

    Args:
        connection: 自动提交的。
        schedules: 本进程的配置。
        seen: 本进程的记性：计划 → 最近一次看见的定义；头一次是空的。
    """
    found = []
    for schedule, state in zip(schedules, await states(connection, schedules), strict=True):
        if state.definition == schedule.definition and state.next_due_at is not None:
            seen[schedule.name] = schedule.definition
            if state.enabled and state.next_due_at <= state.now:
                found.append(schedule)
        elif schedule.name in seen and _is_kept(state):
            if state.definition is not None and seen[schedule.name] != state.definition:
                log.warning(
                    "别的 relay 的定时计划与本进程的不同，听它的", schedule=schedule.name, theirs=state.definition
                )
                seen[schedule.name] = state.definition
        else:
            await connection.execute(load(PACKAGE, "register"), _upcoming(schedule, state.now))
            seen[schedule.name] = schedule.definition
            log.info("登记定时计划", schedule=schedule.name, cron=schedule.cron, timezone=schedule.timezone)
    return found


def _is_kept(state: State) -> bool:
    """登记着的有人管：停用了，或还没有过期很久。"""
    return state.next_due_at is not None and not (state.enabled and state.next_due_at + GRACE < state.now)


async def fire(
    connection: Connection, schedule: Schedule, types: TaskTypes, max_attempts: int, after_commit: AfterCommit
) -> Fired | None:
    """在事务里办到期的那些；None = 别的 relay 在办或已办。任务与下一次的时刻一起提交。"""
    async with connection.cursor(row_factory=class_row(Due)) as cursor:
        await cursor.execute(load(PACKAGE, "lock_due"), {"name": schedule.name, "definition": schedule.definition})
        locked = await cursor.fetchone()
    if locked is None:
        return None
    latest = latest_until(schedule.cron, schedule.zone, locked.now)
    if locked.next_due_at < latest:
        log.warning("定时计划有错过的", schedule=schedule.name, since=str(locked.next_due_at), misfire=schedule.misfire)
    moments = _wanted(schedule, locked, latest)
    task_ids = await _submit(connection, schedule, types, moments, max_attempts, after_commit)
    upcoming = _upcoming(schedule, locked.now)
    await connection.execute(load(PACKAGE, "advance"), {**upcoming, "fired": bool(task_ids)})
    return Fired(latest, task_ids)


def _wanted(schedule: Schedule, locked: Due, latest: datetime) -> list[datetime]:
    """该触发哪几次：准时的总要触发，错过的按策略。"""
    match schedule.misfire:
        case Misfire.ALL:
            return between(schedule.cron, schedule.zone, locked.next_due_at, latest, schedule.catch_up)
        case Misfire.SKIP if locked.now - latest > GRACE:
            return []
        case _:
            return [latest]


async def switch(connection: Connection, schedules: Sequence[Schedule], name: str, *, enabled: bool) -> None:
    """启用或停用。

    Raises:
        DomainError: 配置里没有这个计划（1004）。
    """
    schedule = named(schedules, name)
    (state,) = await states(connection, [schedule])
    await connection.execute(load(PACKAGE, "switch"), {**_upcoming(schedule, state.now), "enabled": enabled})


def named(schedules: Sequence[Schedule], name: str) -> Schedule:
    """配置里叫这个名字的。

    Raises:
        DomainError: 没有（1004）。
    """
    schedule = next((schedule for schedule in schedules if schedule.name == name), None)
    if schedule is None:
        raise refused(Code.NOT_FOUND, Reason("outbox.no_schedule"))
    return schedule


def key_of(schedule: Schedule) -> str:
    """它的任务的 ``ordering_key``：上一次还没完，这一次就等着。"""
    return f"schedule:{schedule.name}"


def request_id_of(schedule: Schedule, due: datetime) -> str:
    """到期那一次的 ``request_id``：再触发一次也还是同一个任务。"""
    return f"{key_of(schedule)}:{due.astimezone(UTC):{DUE}}"


def due_of(schedule: Schedule, request_id: str | None) -> datetime | None:
    """``request_id`` 说的是哪一次到期；不是计划触发的没有。"""
    text = (request_id or "").removeprefix(f"{key_of(schedule)}:")
    return datetime.strptime(text, DUE).replace(tzinfo=UTC) if request_id and text != request_id else None


async def overview(connection: Connection, schedules: Sequence[Schedule]) -> list[dict[str, Any]]:
    """给人看的：配置与现状合在一起。停用的没有下一次。"""
    return [
        {
            **schedule.model_dump(include={"name", "cron", "timezone", "type", "queue", "misfire"}),
            "enabled": state.enabled,
            "last_fired_at": state.last_fired_at,
            "next_due_at": state.next_due_at if state.enabled else None,
        }
        for schedule, state in zip(schedules, await states(connection, schedules), strict=True)
    ]


def _upcoming(schedule: Schedule, now: datetime) -> dict[str, Any]:
    moment = next_after(schedule.cron, schedule.zone, now)
    return {"name": schedule.name, "definition": schedule.definition, "next_due_at": moment}


async def _submit(
    connection: Connection,
    schedule: Schedule,
    types: TaskTypes,
    moments: Sequence[datetime],
    max_attempts: int,
    after_commit: AfterCommit,
) -> tuple[UUID, ...]:
    """受理这几次的任务。"""
    submissions = [
        Submission(
            types[schedule.type],
            payload_of(schedule, types, moment.astimezone(schedule.zone).date()),
            Priority(schedule.queue),
            PRINCIPAL,
            request_id_of(schedule, moment),
            ordering_key=key_of(schedule),
        )
        for moment in moments
    ]
    fired: dict[str | None, UUID] = {}
    outcomes = await accept_many(connection, submissions, max_attempts, after_commit)
    for submission, outcome in zip(submissions, outcomes, strict=True):
        if isinstance(outcome, DomainError) or outcome.replayed:
            log.warning("这一次早已触发过", schedule=schedule.name, request_id=submission.request_id)
            continue
        fired[submission.request_id] = outcome.task_id
    after_commit(partial(_tell, schedule, fired))
    return tuple(fired.values())


def _tell(schedule: Schedule, fired: Mapping[str | None, UUID]) -> None:
    """已提交：触发了哪几次，一次一行。"""
    for request_id, task_id in fired.items():
        log.info("定时触发", schedule=schedule.name, request_id=request_id, task_id=str(task_id))


@dataclass(frozen=True, slots=True)
class Schedules:
    """一次 ``run_once`` 办完眼下到期的，各自一个事务：一个办不成不连累别的。"""

    pool: Pool
    schedules: Sequence[Schedule]
    types: TaskTypes
    max_attempts: int
    metrics: Metrics
    _seen: dict[str, str] = field(default_factory=dict)

    async def run_once(self) -> int:
        """返回办了几个（按策略没有补的也算）。

        Raises:
            Exception: 头一个没办成的；别的都办了。
        """
        if not self.schedules:
            return 0
        async with self.pool.connection() as connection:
            ready = await due(connection, self.schedules, self._seen)
        fired = [await self._fire(schedule) for schedule in ready]
        if failures := [one for one in fired if isinstance(one, Exception)]:
            raise failures[0]  # 别的都办了：由循环去说、退避再来
        return len([one for one in fired if one is not None])

    async def _fire(self, schedule: Schedule) -> Fired | Exception | None:
        try:
            async with self.pool.connection() as connection, transaction(connection) as after_commit:
                fired = await fire(connection, schedule, self.types, self.max_attempts, after_commit)
        except Exception as error:  # noqa: BLE001 一个办不成不挡着别的，什么错都一样；run_once 再抛
            log.warning("定时计划没办成", schedule=schedule.name, error=type(error).__name__)
            return error
        if fired is not None:
            self.metrics.count_accepted(schedule.type, schedule.queue, len(fired.task_ids))
        return fired
