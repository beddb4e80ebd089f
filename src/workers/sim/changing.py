"""sim:change：先记意向，再要运营商改，看到改成了才算；没有回音的先去问，从不盲目再要一次。"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TypeVar

from kaguan.carriers.gateway import (
    CarrierError,
    ChangingGateway,
    CircuitOpenError,
    Order,
    OrderSeen,
    RateLimitedError,
    RejectedError,
    Stage,
    UnsentError,
)
from kaguan.config.model import Carriers
from kaguan.database.pool import Connection
from kaguan.flow.backoff import equal_jitter
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.outcome import Discard, Done, Outcome, Retry, Snooze, Uncertain, Write
from kaguan.outbox.work.verification import Happened, NotHappened, Underway, Verified, VerifiedOutcome
from kaguan.sims import change_store
from kaguan.sims.change_store import Begun
from kaguan.sims.tasks import SimChangePayload
from kaguan.sims.vocabulary import Carrier, Change, LifecycleState
from kaguan.words.log import get_logger
from kaguan.words.reasons import Reason
from workers.pauses import queued_pause
from workers.resources import Resources
from workers.statuses import StatusRecorder

log = get_logger(__name__)

T = TypeVar("T")

FIRST_LOOK, LONGEST_LOOK = 2.0, 600.0  # 秒；运营商还在做的，隔这么久再看一眼，一趟比一趟久
SLACK = timedelta(minutes=1)  # 对方的钟可以慢这么多


@dataclass(frozen=True, slots=True)
class Desk:
    """做与查共用的：网关、配置、记状态的办法。"""

    gateways: Mapping[Carrier, ChangingGateway]
    config: Carriers
    statuses: StatusRecorder = field(default_factory=StatusRecorder)

    def done(self, attempt: Attempt[SimChangePayload], begun: Begun, seen: OrderSeen) -> Done:
        """看到改成了：凭据进回执，卡的状态、事件与任务的结局同一个事务。"""
        payload = attempt.payload
        evidence = {**seen.evidence, "seen_at": begun.now.isoformat()}

        async def write(connection: Connection) -> None:
            await change_store.answered(connection, attempt.task_id, seen.number, evidence)
            if payload.change is Change.PLAN and payload.plan is not None:
                await change_store.set_plan(connection, payload.iccid, payload.plan)
            if seen.card is not None:
                await self.statuses.write(connection, payload.carrier, [seen.card], begun.now, attempt)

        result = {"iccid": payload.iccid, "order_number": seen.number or begun.order_number, "evidence": evidence}
        return Done(result, write)

    @staticmethod
    def refused(attempt: Attempt[SimChangePayload], seen: OrderSeen) -> Discard:
        why = Reason("sims.refused_by_carrier", {"words": seen.words or "-", "failure": seen.failure})
        return Discard(why, _noting(attempt, seen))

    async def look(self, attempt: Attempt[SimChangePayload], begun: Begun, reference: str) -> OrderSeen | None:
        """去问那一次怎样了；不占别人要的。"""
        payload = attempt.payload
        gateway = self.gateways[payload.carrier]
        called = begun.called_at or begun.now
        since = max(filter(None, (called - SLACK, begun.previous)))
        order = replace(_order(payload, begun, reference), since=since)
        return await outside(attempt, lambda: gateway.order(order))


async def outside(attempt: Attempt[SimChangePayload], ask: Callable[[], Awaitable[T]]) -> T:
    """等运营商的时候让出槽位。"""
    async with attempt.outside(attempt.payload.carrier):
        return await ask()


@dataclass(frozen=True, slots=True)
class SimChanger:
    """要运营商改一张卡。"""

    desk: Desk

    async def __call__(self, attempt: Attempt[SimChangePayload]) -> Outcome:
        payload = attempt.payload
        gateway = self.desk.gateways.get(payload.carrier)
        if gateway is None:
            return Discard(Reason("sims.carrier_missing", {"carrier": payload.carrier.value}))
        async with attempt.place(payload.carrier):
            return await self._change(attempt, gateway)

    async def _change(self, attempt: Attempt[SimChangePayload], gateway: ChangingGateway) -> Outcome:
        payload = attempt.payload
        async with attempt.pool.connection() as connection:
            begun = await change_store.begin(connection, attempt.task_id)
        reference = gateway.reference()
        order = _order(payload, begun, reference)

        async def call(connection: Connection) -> None:
            await change_store.called(connection, attempt.task_id, reference)

        try:
            async with attempt.once(call):
                seen = await outside(attempt, lambda: gateway.change(order))
        except CarrierError as error:
            return self._failed(attempt, error)
        log.info("运营商答了变更", carrier=payload.carrier, change=payload.change, stage=seen.stage.value)
        if seen.stage is Stage.REFUSED:
            return self.desk.refused(attempt, seen)
        return await self._seen(attempt, reference, seen)

    async def _seen(self, attempt: Attempt[SimChangePayload], reference: str, answer: OrderSeen) -> Outcome:
        """收下了的，当场看一眼成了没有；没成的过一会儿再看，从此只看不做。"""
        async with attempt.pool.connection() as connection:
            begun = await change_store.begin(connection, attempt.task_id)  # 看之前的钟
        try:
            looked = await self.desk.look(attempt, begun, reference)
        except CarrierError:
            looked = None
        match looked:
            case OrderSeen(stage=Stage.DONE):
                return self.desk.done(attempt, begun, _numbered(looked, answer))
            case OrderSeen(stage=Stage.REFUSED):
                return self.desk.refused(attempt, looked)
        attempt.intended = True  # 做了没有，还不知道：意向留着，下一次先问
        write = _noting(attempt, _numbered(looked or answer, answer))
        return Snooze(Reason("sims.change_underway"), write, equal_jitter(1, FIRST_LOOK, LONGEST_LOOK))

    @staticmethod
    def _failed(attempt: Attempt[SimChangePayload], error: CarrierError) -> Outcome:
        """没有得到应答：哪些是没有做，哪些是不知道。"""
        match error:
            case RateLimitedError() | CircuitOpenError():  # 没有去做，或它说太快了
                pause = max(error.retry_after or 0.0, queued_pause(attempt.delivery))
                return Snooze(Reason("sims.change_queued", {"reason": error.reason}), delay=pause)
            case UnsentError():
                return Retry(Reason("sims.change_failed", {"reason": error.reason}), error.retry_after, outage=True)
            case RejectedError():
                return Discard(Reason("sims.change_failed", {"reason": error.reason}))
        return Uncertain(Reason("sims.change_unanswered", {"reason": error.reason}))


@dataclass(frozen=True, slots=True)
class ChangeVerify:
    """没有回音的、还没做完的，去问运营商。"""

    desk: Desk

    async def __call__(self, attempt: Attempt[SimChangePayload]) -> VerifiedOutcome | None:
        payload = attempt.payload
        if payload.carrier not in self.desk.gateways:
            return None
        async with attempt.place(payload.carrier):
            async with attempt.pool.connection() as connection:
                begun = await change_store.begin(connection, attempt.task_id)
            if begun.reference is None:
                return None  # 意向还在，回执却没有记过：历史丢了尾巴，谁也不知道
            try:
                seen = await self.desk.look(attempt, begun, begun.reference)
            except RateLimitedError as error:
                waiting = Reason("sims.change_queued", {"reason": error.reason})
                return Underway(waiting, queued_pause(attempt.delivery))
            except CarrierError as error:
                log.warning("没有问到变更的结果", carrier=payload.carrier, reason=error.reason.logged)
                return None
        return self._verdict(attempt, begun, seen)

    def _verdict(
        self, attempt: Attempt[SimChangePayload], begun: Begun, seen: OrderSeen | None
    ) -> VerifiedOutcome | None:
        waited = (begun.now - (begun.called_at or begun.now)).total_seconds()
        match seen:
            case OrderSeen(stage=Stage.DONE):
                return Happened(self.desk.done(attempt, begun, seen))
            case OrderSeen(stage=Stage.REFUSED):
                return Happened(self.desk.refused(attempt, seen))
            case None if begun.answered_at is None:
                # 对方说没有这回事：过了宽限才信，早了也许还在路上
                return NotHappened() if waited > self.desk.config.change_grace else None
        if waited > self.desk.config.change_patience:
            return None
        pause = equal_jitter(attempt.passes + 1, FIRST_LOOK, LONGEST_LOOK)
        return Underway(Reason("sims.change_underway"), pause, _noting(attempt, seen))


def _order(payload: SimChangePayload, begun: Begun, reference: str) -> Order:
    return Order(
        iccid=payload.iccid,
        change=payload.change,
        plan=payload.plan,
        state=LifecycleState(begun.state),
        reference=reference,
        since=begun.now,
    )


def _numbered(seen: OrderSeen, answer: OrderSeen) -> OrderSeen:
    """单号：后来看到的没有，就照当时答的。"""
    return replace(seen, number=seen.number or answer.number)


def _noting(attempt: Attempt[SimChangePayload], seen: OrderSeen | None) -> Write:
    number = None if seen is None else seen.number

    async def write(connection: Connection) -> None:
        await change_store.answered(connection, attempt.task_id, number)

    return write


@asynccontextmanager
async def open_sim_change(resources: Resources) -> AsyncIterator[Handler[SimChangePayload]]:
    desk = Desk(resources.gateways, resources.settings.carriers, resources.statuses)
    yield Verified(SimChanger(desk), ChangeVerify(desk), resend=False)
