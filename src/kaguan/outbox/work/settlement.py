"""结算：把结果折成一条带隔离令牌的语句，与处理器自己的写入同一事务（I2）；成功、没有写入的再来，并发时各合成一条。"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from opentelemetry.trace import SpanContext
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from kaguan.config.model import Tasks
from kaguan.database.group_commit import TIMEOUT, Gathering, GroupCommit
from kaguan.database.pool import PASSING_ERRORS, Connection, Pool
from kaguan.database.sql import columns, load
from kaguan.flow.backoff import BACKOFF_MAX, FIRST_BACKOFF, equal_jitter, full_jitter, outage_wait
from kaguan.outbox.spans import batch_span
from kaguan.outbox.task_type import Backoff, TaskTypes
from kaguan.outbox.vocabulary import TaskEventKind, TaskStatus
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.fence import COLUMNS, FencedError, Token
from kaguan.outbox.work.gathered import Gathered, write_together
from kaguan.outbox.work.outcome import Cancelled, Discard, Done, Outcome, Retry, Snooze, Uncertain
from kaguan.telemetry.propagation import current_context, current_traceparent, failed_traceparent
from kaguan.words.log import get_logger
from kaguan.words.reasons import Reason

log = get_logger(__name__)

PACKAGE = "kaguan.outbox.work"
PATIENCE = 60.0  # 秒：PostgreSQL 不在时，结算最多坚持这么久；之后由租约收回
UNKNOWN = frozenset({TaskEventKind.RESEND, TaskEventKind.TO_VERIFY})  # 再来一次，因为上一次的结局不明
AGAIN = frozenset({TaskStatus.RETRYING, TaskStatus.CANCELLED, TaskStatus.UNCERTAIN})  # settle_retry 的三种结局


@dataclass(frozen=True, slots=True)
class Settled:
    """结算的结果：任务的新状态，自受理以来的秒数，与记下的结局（写入出了意外的，记的是那意外）。"""

    status: TaskStatus
    age: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Fenced:
    """令牌已失效，处理器的写入一并回滚。"""


@dataclass(frozen=True, slots=True)
class Unsettled:
    """数据库久不可用，没有结算（或不知道），由租约收回。"""

    error: str


@dataclass(frozen=True, slots=True)
class Success:
    """一次成功，待结算。``traceparent`` 是这次尝试自己的跟踪；头一次投递就在受理的那条上，为空。

    ``effect`` 是与别的凑成一次的写入，自成一个事务的不在这里；``context`` 是它接在哪个跨度之下。
    """

    token: Token
    result: dict[str, Any]
    progress: dict[str, int | None] | None
    traceparent: str | None
    effect: Gathered[Any, Any] | None = None
    context: SpanContext = field(default_factory=current_context)


@dataclass(frozen=True, slots=True)
class Again:
    """一次还要再来的，待结算：让位、等着、再试、不明而重投，``kind`` 是时间线上的哪一种。

    ``unknown``：外部调用下落不明；``waiting_for`` 是在等外面的谁；``traceparent``、``context`` 同 :class:`Success`。
    """

    token: Token
    kind: TaskEventKind
    error: Jsonb
    delay: float
    unknown: bool
    waiting_for: str | None
    traceparent: str | None
    context: SpanContext = field(default_factory=current_context)


@dataclass(frozen=True, slots=True)
class Written:
    """结算写下的状态（用户要求取消的不再重试，因此未必是所求的那个），与自受理以来的秒数。"""

    status: str
    age: float


@dataclass(frozen=True, slots=True)
class _Statement:
    status: TaskStatus
    name: str
    parameters: dict[str, Any]


_Settling: TypeAlias = Success | Again | _Statement


class Settlement:
    """``types`` 说：结局不明也重新投递、而不是搁置的，时间线上记作什么；自己有退避的，照它自己的。"""

    def __init__(self, pool: Pool, worker: str, config: Tasks, types: TaskTypes | None = None) -> None:
        types = types or TaskTypes(())
        self._pool = pool
        self._worker = worker
        self._redelivered = types.redelivered
        self._backoff_of = {one.name: one.backoff for one in types.values() if one.backoff is not None}
        self._otherwise = Backoff(config.backoff_base, config.backoff_cap)
        self._successes: GroupCommit[Success, Written | None] = GroupCommit(
            pool,
            settle_done,
            gathering=Gathering(),
            around=_spanned,
        )
        self._again: GroupCommit[Again, Written | None] = GroupCommit(
            pool,
            partial(settle_again, worker),
            gathering=Gathering(),
            around=_spanned,
        )

    async def settle(self, attempt: Attempt, outcome: Outcome) -> Settled | Fenced | Unsettled:
        """写下结局；PostgreSQL 暂时不在就坚持重试，写入（或库容不下的结果）出了意外就改记为意外。"""
        statement = self._statement(attempt, outcome)
        deadline = asyncio.get_running_loop().time() + PATIENCE
        failures = 0
        surprised = False
        while True:
            try:
                if isinstance(statement, Success) and outcome.effect is statement.effect:
                    written = await self._successes.submit(statement)
                elif isinstance(statement, Again) and outcome.effect is None:
                    written = await self._again.submit(statement)
                else:
                    written = await self._together(attempt, outcome, statement)
                written = written or await self._already(attempt, statement)
                return Fenced() if written is None else Settled(TaskStatus(written.status), written.age, outcome)
            except PASSING_ERRORS as error:
                failures += 1
                wait = equal_jitter(failures, FIRST_BACKOFF, BACKOFF_MAX)
                if asyncio.get_running_loop().time() + wait > deadline or attempt.lost.is_set():
                    log.error("数据库久不可用，放弃结算，由租约收回", error=type(error).__name__)
                    return Unsettled(type(error).__name__)
                log.warning("结算没写成，重试", task_id=str(attempt.task_id), error=type(error).__name__)
                await asyncio.sleep(wait)  # 退避带抖动，久了就放弃
            except Exception as error:  # 结算的意外也要有结局
                if surprised:
                    raise
                surprised = True
                log.exception("结算意外失败")
                outcome = unexpected(attempt, Reason("outbox.unexpected", {"error": type(error).__name__}))
                statement = self._statement(attempt, outcome)

    async def _together(self, attempt: Attempt, outcome: Outcome, statement: _Settling) -> Written | None:
        """自成一个事务；处理器的写入与结算同生共死，令牌失效则全部回滚、返回 None。"""
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                attempt.fence.transaction(check=outcome.effect is not None) as connection,
            ):
                if outcome.effect is not None:
                    await outcome.effect(connection)
                match statement:
                    case Success():
                        (written,) = await settle_done(connection, [statement])
                    case Again():
                        (written,) = await settle_again(self._worker, connection, [statement])
                    case _Statement():
                        written = await _settle_otherwise(connection, statement)
                if written is None:
                    raise FencedError  # noqa: TRY301 要它回滚这个事务
                return written
        except FencedError:
            return None

    async def _already(self, attempt: Attempt, statement: _Settling) -> Written | None:
        """没写成：令牌失效（None），或上一次的 COMMIT 其实成功了、只是回音丢了，或历史没有核对完（抛出，再来）。"""
        async with asyncio.timeout(TIMEOUT), self._pool.connection() as connection:
            now = await attempt.fence.recorded(connection)
        match statement:
            case Success():
                expected, delivery = frozenset({TaskStatus.SUCCEEDED}), attempt.delivery
            case Again():
                expected, delivery = AGAIN, attempt.delivery + 1
            case _Statement(status):
                expected, delivery = frozenset({status}), attempt.delivery
        token = (delivery, attempt.token.claim_id)
        if now is not None and now[1:] == token and now[0] in expected:
            return Written(now[0], 0.0)
        return None

    def _statement(self, attempt: Attempt, outcome: Outcome) -> _Settling:  # noqa: PLR0911 每种结局各一条语句
        token = {**attempt.token._asdict(), "attempt": attempt.attempt}
        match outcome:
            case Done(result):
                own = attempt.own_traceparent
                effect = outcome.effect if isinstance(outcome.effect, Gathered) else None
                return Success(attempt.token, result, attempt.progress, own, effect)
            case Retry(reason, delay) if attempt.attempt < attempt.max_attempts:
                wait = max(self._backoff(attempt, outage=outcome.outage), delay or 0)
                return _once_more(attempt, TaskEventKind.ATTEMPT_FAILED, reason, wait)
            case Snooze(reason, delay=delay, waiting_for=outside):
                return _once_more(attempt, TaskEventKind.INTERRUPTED, reason, delay, outside)
            case Uncertain(reason) if attempt.type in self._redelivered and attempt.attempt < attempt.max_attempts:
                return _once_more(attempt, self._redelivered[attempt.type], reason, self._backoff(attempt))
            case Retry(reason):
                used_up: dict[str, Any] = {"attempts": attempt.max_attempts, "reason": Reason.of(reason)}
                noted = self._noted(token, Reason("outbox.attempts_used_up", used_up))
                return self._ended(attempt, TaskEventKind.ATTEMPT_FAILED, noted, outcome.result)
            case Discard(reason):
                noted = self._noted(token, reason)
                return self._ended(attempt, TaskEventKind.ATTEMPT_FAILED, noted, outcome.result)
            case Cancelled(reason):
                return self._ended(attempt, TaskEventKind.CANCELLED, self._noted(token, reason, failed=False))
            case Uncertain(reason):
                return _Statement(TaskStatus.UNCERTAIN, "settle_uncertain", self._noted(token, reason))

    def _backoff(self, attempt: Attempt, *, outage: bool = False) -> float:
        own = self._backoff_of.get(attempt.type, self._otherwise)
        return (outage_wait if outage else full_jitter)(attempt.attempt, own.base, own.cap)

    @staticmethod
    def _ended(
        attempt: Attempt, kind: TaskEventKind, noted: dict[str, Any], result: dict[str, Any] | None = None
    ) -> _Statement:
        """失败或取消；先前的外部调用至今下落不明的，不能说没做过：等人定夺。"""
        if attempt.intended:
            return _Statement(TaskStatus.UNCERTAIN, "settle_uncertain", noted)
        status = TaskStatus.CANCELLED if kind is TaskEventKind.CANCELLED else TaskStatus.FAILED
        kept = None if result is None else Jsonb(result)
        return _Statement(status, "settle_failed", {**noted, "status": status, "kind": kind, "result": kept})

    def _noted(self, token: dict[str, Any], reason: Reason | str, *, failed: bool = True) -> dict[str, Any]:
        return {
            **token,
            "error": Jsonb(Reason.of(reason).stored()),
            "worker": self._worker,
            "traceparent": failed_traceparent() if failed else current_traceparent(),
        }


def _spanned(batch: Sequence[Success | Again]) -> AbstractContextManager[object]:
    return batch_span("UPDATE", [item.context for item in batch])


def _once_more(
    attempt: Attempt, kind: TaskEventKind, reason: Reason | str, delay: float, waiting_for: str | None = None
) -> Again:
    """让位不是出错，跟踪照常；先前的、或这一次的外部调用下落不明，就留着意向。"""
    return Again(
        attempt.token,
        kind,
        Jsonb(Reason.of(reason).stored()),
        delay,
        unknown=kind in UNKNOWN or attempt.intended,
        waiting_for=waiting_for,
        traceparent=current_traceparent() if kind is TaskEventKind.INTERRUPTED else failed_traceparent(),
    )


def unexpected(attempt: Attempt, reason: Reason) -> Outcome:
    """意外的结局：已记下意向的不明，其余的再试。"""
    return Uncertain(reason) if attempt.declared else Retry(reason)


async def settle_done(connection: Connection, successes: Sequence[Success]) -> list[Written | None]:
    """成批结算成功，次序与输入相同；None = 令牌已失效，那一个什么也没写。与它们的写入同生共死。"""
    rows = [
        (*item.token, Jsonb(item.result), None if item.progress is None else Jsonb(item.progress), item.traceparent)
        for item in successes
    ]
    parameters = columns((*COLUMNS, "results", "progresses", "traceparents"), rows)
    writes = any(item.effect for item in successes)
    async with connection.transaction() if writes else nullcontext():
        cursor = await connection.execute(load(PACKAGE, "settle_done"), parameters)
        written = {row[:3]: Written(*row[3:]) for row in await cursor.fetchall()}
        if writes:
            await write_together(connection, [item.effect if item.token in written else None for item in successes])
    return [written.get(item.token) for item in successes]


async def settle_again(worker: str, connection: Connection, those: Sequence[Again]) -> list[Written | None]:
    """成批结算还要再来的，次序与输入相同；None = 令牌已失效，那一个什么也没写。"""
    rows = [
        (*one.token, one.kind.value, one.error, float(one.delay), one.unknown, one.waiting_for, one.traceparent)
        for one in those
    ]
    names = (*COLUMNS, "kinds", "errors", "delays", "unknowns", "waits", "traceparents")
    cursor = await connection.execute(load(PACKAGE, "settle_retry"), {**columns(names, rows), "worker": worker})
    written = {row[:3]: Written(*row[3:]) for row in await cursor.fetchall()}
    return [written.get(one.token) for one in those]


async def _settle_otherwise(connection: Connection, statement: _Statement) -> Written | None:
    """不成功的结算；None = 令牌已失效，什么也没写。"""
    async with connection.cursor(row_factory=class_row(Written)) as cursor:
        await cursor.execute(load(PACKAGE, statement.name), statement.parameters)
        return await cursor.fetchone()


async def note_fenced(connection: Connection, attempt: Attempt, worker: str) -> bool:
    """留一条痕迹；False：任务不在了，没有可留的。"""
    parameters = {**attempt.token._asdict(), "attempt": attempt.attempt, "worker": worker}
    return (await connection.execute(load(PACKAGE, "note_fenced"), parameters)).rowcount > 0
