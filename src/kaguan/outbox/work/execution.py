"""每个处理器外面的同一条流水线：放行 → 认领 → 执行 → 结算 → 记下。只有这里兜住处理器的意外。"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from uuid import UUID

import psycopg
from opentelemetry.trace import Span
from psycopg_pool import PoolTimeout
from redis.exceptions import RedisError
from saq.job import Job

from kaguan.database.group_commit import TIMEOUT
from kaguan.database.pool import PASSING_ERRORS, Pool
from kaguan.flow.backoff import jitter
from kaguan.outbox.deliver.deliveries import HANDED_AT, REQUEST_IDS
from kaguan.outbox.errors import GateClosedError
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.naming import attempted
from kaguan.outbox.order import ordering
from kaguan.outbox.recover.vanished import Vanishing
from kaguan.outbox.spans import process_span, record_outcome
from kaguan.outbox.task_type import NewerPayloadError, TaskType, UnfitPayloadError
from kaguan.outbox.vocabulary import Priority, TaskStatus
from kaguan.outbox.work.attempt import Attempt, CancelledByUserError, Handler
from kaguan.outbox.work.claiming import Claim, Claims
from kaguan.outbox.work.fence import Fence, FencedError
from kaguan.outbox.work.gathered import Reads
from kaguan.outbox.work.intents import Intents, UnnotedError
from kaguan.outbox.work.leases import Leases
from kaguan.outbox.work.newer import NewerPayloads
from kaguan.outbox.work.outcome import Cancelled, Discard, Done, Outcome, Snooze, Uncertain
from kaguan.outbox.work.paused import set_back
from kaguan.outbox.work.places import NoPlaceError, Seat, Seats, waiting_for_place
from kaguan.outbox.work.settlement import Fenced, Settled, Settlement, Unsettled, note_fenced, unexpected
from kaguan.telemetry.metrics import observe
from kaguan.words.log import bound, get_logger
from kaguan.words.reasons import Reason

log = get_logger(__name__)

BREATHER = (1.0, 5.0)  # 秒：记不下外部调用的、历史没有核对完的，歇这么久再来
# 我们自己的库与 Redis 出的错，不会是叫过外面；处理器多半还没走到那里
INSIDE = (psycopg.Error, PoolTimeout, RedisError)
LONG = 1.0  # 秒；做这么久的，重复的投递在认领之前就挡掉
YIELD_AFTER = 0.8  # 长任务用掉时限的这么多就该让位，余下的留给手上这一批与结算


# 现在做不成、过一会儿再来的
NOT_NOW = (NoPlaceError, UnnotedError, GateClosedError)


def put_off(attempt: Attempt, error: NoPlaceError | UnnotedError | GateClosedError) -> Outcome:
    """让位，不计尝试；记过意向的，外部调用也许已做了几分。"""
    if isinstance(error, NoPlaceError):
        again = waiting_for_place(error, attempt.passes)
    else:
        reason = Reason("outbox.unnoted") if isinstance(error, UnnotedError) else Reason("outbox.gate_closed")
        again = Snooze(reason, delay=jitter(*BREATHER))
    unknown = attempt.declared and not isinstance(error, UnnotedError)  # 没有记成的，没有去做
    return Uncertain(again.reason) if unknown else again


@dataclass(frozen=True, slots=True)
class _Unread:
    """替读不懂的载荷站着的处理器。"""

    error: NewerPayloadError | UnfitPayloadError

    async def __call__(self, _: Attempt) -> NoReturn:
        raise self.error


class Execution:
    """SAQ 函数：一次投递进来，它带的每个任务各一次尝试。从不抛出业务异常，SAQ 因此从不重试、也不记参数。

    ``task_timeout`` 单位秒，类型自己没有说时限的照它；``ring`` 按门铃。
    """

    def __init__(  # noqa: PLR0913 装配的地方，各是一个零件
        self,
        pool: Pool,
        handlers: Mapping[TaskType[Any], Handler[Any]],
        claims: Claims,
        seats: Seats,
        leases: Leases,
        settlement: Settlement,
        metrics: Metrics,
        *,
        task_timeout: float,
        once: Container[str],
        ring: Callable[[], None],
        newer: NewerPayloads,
        vanishing: Vanishing,
        intents: Intents,
        reads: Reads,
    ) -> None:
        self._pool = pool
        self._handlers = {one.name: (one, handler) for one, handler in handlers.items()}
        self._claims = claims
        self._seats = seats
        self.slots = seats.slots
        self.leases = leases
        self.settlement = settlement
        self._metrics = metrics
        self._time_limits = {one.name: one.time_limit or task_timeout for one in handlers}
        self._task_timeout = task_timeout
        self._once = once
        self._ring = ring
        self._newer = newer
        self._vanishing = vanishing
        self._intents = intents
        self._reads = reads

    async def __call__(self, context: Mapping[str, object], *, deliveries: Sequence[tuple[str, int]] = ()) -> None:
        """``deliveries`` 是（任务号，投递号）。"""
        tokens = [(UUID(task_id), delivery) for task_id, delivery in deliveries]
        job = context.get("job")
        function, meta = (job.function, job.meta) if isinstance(job, Job) else ("", {})
        function = function if function in self._handlers else ""  # 队列里写的什么都可能，不许成了指标的标签
        # 快的、重做也无妨的不问任务锁：锁的来回比它省下的贵；多快还不知道的也问
        guarded = function in self._once or self.slots.seconds.get(function, math.inf) >= LONG
        claims = await self._claims.claim(tokens, meta.get(HANDED_AT), guarded=guarded)
        if len(claims) < len(tokens):
            missed = set(tokens) - {(claim.id, claim.delivery) for claim in claims}
            request_ids = dict(zip(tokens, meta.get(REQUEST_IDS, ()), strict=False))
            paused = await set_back(self._pool, missed)
            gone = await self._vanishing.note_delivered(function, missed, request_ids)
            self._metrics.vanished.labels(function).inc(gone)
            self._metrics.duplicates_suppressed.labels(function).inc(len(missed) - paused - gone)
        for claim in claims:
            if claim.returned:
                log.info("手里已有一个嫌疑，交还", task_id=str(claim.id), delivery=claim.delivery)
        claims = [claim for claim in claims if not claim.returned]
        if not claims:
            return
        done: list[tuple[Claim, float]] | None = [] if len(claims) > 1 else None  # 同乘的做成了，合一行说
        try:
            # 任何一个都不抛业务异常；取消会传给每一个。以任务号为名：有人问它停在哪里，认得出
            doing = [asyncio.create_task(self._run(claim, done), name=str(claim.id)) for claim in claims]
            await asyncio.gather(*doing)
        except asyncio.CancelledError:
            # 停机，或 SAQ 的时限：没有人在做了（也许还没开始做），不许再续租
            self.leases.abandon([claim.token for claim in claims])
            raise
        finally:
            if done:
                made, seconds = zip(*done, strict=True)
                log.info("任务完成", **attempted(made), duration_ms=round(max(seconds) * 1000, 1))

    async def _run(self, claim: Claim, done: list[tuple[Claim, float]] | None) -> None:
        seat = self._seats.of(Priority(claim.queue), claim.type, called=claim.was_called)
        payload, handler = self._prepared(claim)
        attempt: Attempt[Any] = Attempt(
            seat=seat,
            fence=Fence(self._pool, claim.token),
            type=claim.type,
            attempt=claim.attempt,
            max_attempts=claim.max_attempts,
            payload=payload,
            request_id=claim.request_id,
            intended=claim.intended,
            intents=self._intents,
            reads=self._reads,
        )
        labels = (claim.type, claim.queue)
        self._metrics.started.labels(*labels).inc()
        observe(self._metrics.relay_to_start.labels(*labels), claim.queued_for, claim.traceparent)
        with (
            bound(
                task_id=str(claim.id), delivery=claim.delivery, task_type=claim.type, request_id=claim.request_id,
                attempt=claim.attempt,
            ),
            process_span(
                claim.type, claim.id, claim.queue, claim.attempt, claim.traceparent, delivery=claim.delivery
            ) as span,
        ):  # fmt: skip
            with self.leases.holding(attempt) as ending:
                outcome, elapsed = await self._seated(attempt, seat, handler)
                ending()
                settled = Fenced() if outcome is None else await self.settlement.settle(attempt, outcome)
            match settled:
                case Settled():
                    self._record(settled, labels, elapsed, span, alone=done is None)
                    if done is not None and settled.status is TaskStatus.SUCCEEDED:
                        done.append((claim, elapsed))
                case Fenced():
                    await self._fenced(attempt, span)
                case Unsettled(error):
                    record_outcome(span, "unsettled", error)
            if claim.ordered:
                await self._release_next(claim.id)

    def _prepared(self, claim: Claim) -> tuple[Any, Handler[Any] | None]:
        """校验过的载荷与处理器；读不懂的，轮到它时才说，次序与别的意外相同。"""
        kind, handler = self._handlers.get(claim.type, (None, None))
        try:
            return None if kind is None else kind.read(claim.payload), handler
        except (NewerPayloadError, UnfitPayloadError) as error:
            return None, _Unread(error)

    async def _seated(self, attempt: Attempt, seat: Seat, handler: Handler[Any] | None) -> tuple[Outcome | None, float]:
        """有了名额、占到槽位才执行，返回结果与秒数；结算不占槽位，下一个不等它提交。"""
        clock = asyncio.get_running_loop().time
        try:
            async with seat.taken():
                started = clock()
                attempt.deadline = started + self._time_limit(attempt) * YIELD_AFTER
                outcome = self._newer.unhandled(attempt) if handler is None else await self._handle(attempt, handler)
                elapsed = clock() - started
        except NoPlaceError as full:
            return waiting_for_place(full, attempt.passes), 0.0
        observe(self._metrics.run.labels(attempt.type), elapsed)
        return outcome, elapsed

    async def _handle(self, attempt: Attempt, handler: Handler[Any]) -> Outcome | None:  # noqa: PLR0911 每种意外各有结局
        """执行处理器，把一切意外折成结果；None 是途中就发现令牌失效。停机的取消原样放行：任务由停机流程交还。"""
        seconds = self._time_limit(attempt)
        limit = asyncio.timeout(seconds)
        try:
            attempt.checkpoint()  # 排队轮到它之前，租约也许丢了、用户也许取消了
            async with limit:
                outcome = await handler(attempt)
        except FencedError:
            return None
        except CancelledByUserError:
            # 记过意向的，外部调用也许已做了几分
            unknown = Uncertain(Reason("outbox.cancelled_unknown"))
            return unknown if attempt.declared else Cancelled(Reason("outbox.cancelled"))
        except NOT_NOW as error:
            return put_off(attempt, error)
        except NewerPayloadError as error:
            return self._newer.outcome(attempt, error.reason)
        except UnfitPayloadError as error:
            return Discard(error.reason)
        except Exception as error:  # 处理器的意外在此折成结果，别处不兜
            if isinstance(error, TimeoutError) and limit.expired():  # 处理器自己的超时是意外，不是用完了时限
                reason = Reason("outbox.timed_out", {"seconds": seconds})
            else:
                log.exception("处理器意外失败")
                reason = Reason("outbox.unexpected", {"error": type(error).__name__})
            if self._is_unaccounted(attempt) and not isinstance(error, INSIDE):
                return Uncertain(Reason("outbox.undeclared", {"ended": reason}))
            return unexpected(attempt, reason)
        return self._checked(attempt, outcome)

    def _checked(self, attempt: Attempt, outcome: object) -> Outcome:
        """处理器给的是不是结局；重复不得的说做成了，记过意向没有：没有记的死在半途，没有人知道外面叫过没有。"""
        unaccounted = self._is_unaccounted(attempt)
        if not isinstance(outcome, Outcome):
            log.error("处理器没有给出结局", returned=type(outcome).__name__)
            reason = Reason("outbox.no_outcome", {"returned": type(outcome).__name__})
            return Uncertain(reason) if attempt.declared or unaccounted else Discard(reason)
        if isinstance(outcome, Done) and unaccounted:
            log.error("处理器没有进 attempt.once() 就说做成了")
            return Uncertain(Reason("outbox.undeclared", {"ended": "Done"}), outcome.effect)
        return outcome

    def _time_limit(self, attempt: Attempt) -> float:
        """秒。"""
        return self._time_limits.get(attempt.type, self._task_timeout)

    def _is_unaccounted(self, attempt: Attempt) -> bool:
        """重复不得的类型，没有记意向，也没有说用不着外面：外面叫没叫过，谁也不知道。"""
        answered = attempt.declared or attempt.intended or attempt.calls_nobody
        return attempt.type in self._once and not answered

    async def _release_next(self, task_id: UUID) -> None:
        """同键的下一个立刻放行，并按铃让 relay 立刻转交；没放成的由 relay 兜底。"""
        try:
            async with asyncio.timeout(TIMEOUT), self._pool.connection() as connection:
                if await ordering.release(connection, [task_id]):
                    self._ring()
        except PASSING_ERRORS as error:
            log.warning("没能放行同键的下一个，由 relay 兜底", error=type(error).__name__)

    async def _fenced(self, attempt: Attempt, span: Span) -> None:
        """旧的持有者醒来：什么也没写，留一条痕迹；任务自己都不见了的，说出是哪一个。"""
        record_outcome(span, "fenced")
        self._metrics.fenced_writes.labels(type=attempt.type).inc()
        log.warning("隔离令牌已失效，丢弃结果")
        try:
            async with asyncio.timeout(TIMEOUT), self._pool.connection() as connection:
                is_noted = await note_fenced(connection, attempt, self.leases.worker)
        except PASSING_ERRORS as error:
            log.warning("隔离的痕迹没有记成", error=type(error).__name__)
            return
        if not is_noted:
            held = (attempt.task_id, attempt.delivery)
            gone = await self._vanishing.note(attempt.type, [held], {held: attempt.request_id})
            self._metrics.vanished.labels(attempt.type).inc(gone)

    def _record(self, settled: Settled, labels: tuple[str, str], elapsed: float, span: Span, *, alone: bool) -> None:
        """每次尝试都计；同乘的做成了，随它的投递一行日志，别的各有各的一行。"""
        status, outcome = settled.status, settled.outcome
        observe(self._metrics.accept_to_effect.labels(type=labels[0]), settled.age)
        self._metrics.settled.labels(*labels, status).inc()
        duration_ms = round(elapsed * 1000, 1)
        if isinstance(outcome, Snooze) and status is TaskStatus.RETRYING:
            record_outcome(span, "continued")
            log.info("任务让位，由下一次投递接着做", reason=Reason.of(outcome.reason).logged, duration_ms=duration_ms)
            return
        if status is TaskStatus.RETRYING:
            self._metrics.retried.labels(*labels).inc()
        if status is TaskStatus.UNCERTAIN:
            self._metrics.uncertain.labels(labels[0]).inc()
        if status is TaskStatus.SUCCEEDED:
            record_outcome(span, status)
            if alone:
                log.info("任务完成", duration_ms=duration_ms)
            return
        record_outcome(span, status, None if isinstance(outcome, Cancelled) else type(outcome).__name__)
        reason = None if isinstance(outcome, Done) else Reason.of(outcome.reason).logged
        log.warning("任务未完成", status=status, reason=reason, duration_ms=duration_ms)
