"""结局不明时先问外面：处理器可以给一个查证办法，重发与搁置都等它说了再定（I3）。

上一次执行死在「记下意向」与「记下结局」之间，这一次投递就先查证：
发生过 → 就此结算；没发生 → 照常执行；对方还在做 → 过一会儿再问，不计尝试；
说不清 → 按策略（``resend`` 再做一次，``hold`` 过一会儿再问，次数用尽后等人）。
人工重来是人的决定：说不清时照做。

用法：登记处把处理器包一层，``Verified(handler, verify, resend=…)``；任务类型的 ``unknown`` 是 ``verify`` 的必须包，
别的不许包，:class:`kaguan.outbox.worker.Worker` 一造就查。时间线记作 ``to_verify``。
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias

from psycopg.types.json import Jsonb

from kaguan.database.sql import load
from kaguan.outbox.task_type import P, P_contra
from kaguan.outbox.vocabulary import TaskEventKind
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.outcome import Discard, Done, Outcome, Snooze, Uncertain, Write
from kaguan.words.log import get_logger
from kaguan.words.reasons import Reason

log = get_logger(__name__)

PATIENCE = 30.0  # 秒；查证本身也不许拖住一次尝试


@dataclass(frozen=True, slots=True)
class Happened:
    """The outside call happened, and nothing is left to do: the task ends with ``outcome``.

    Attributes:
        outcome: as the handler would have said; ``Discard`` if the other side took the call and then refused.
    """

    outcome: Done | Discard


@dataclass(frozen=True, slots=True)
class Underway:
    """The outside call happened, and the other side is not done: it is asked again later; no attempt is used up.

    Attributes:
        reason: for the owner of the task to read, in your words.
        delay: seconds.
        effect: what you write, as of :class:`Done`.
    """

    reason: Reason | str
    delay: float
    effect: Write | None = None


@dataclass(frozen=True, slots=True)
class NotHappened:
    """The outside call did not happen, or a part of it is left: the handler is called as always."""


VerifiedOutcome: TypeAlias = Happened | NotHappened | Underway


class Verify(Protocol[P_contra]):
    """去外面问：这个任务的外部调用发生过没有。``None`` 是说不清。

    预料之中的失败（对方不在、答非所问）是 ``None``，不是异常。
    """

    async def __call__(self, attempt: Attempt[P_contra], /) -> VerifiedOutcome | None: ...


@dataclass(frozen=True, slots=True)
class Verified(Generic[P]):
    """带查证的处理器。``resend``：说不清时是否再做一次。"""

    handler: Handler[P]
    verify: Verify[P]
    resend: bool

    async def __call__(self, attempt: Attempt[P]) -> Outcome:
        if not attempt.intended:
            return await self.handler(attempt)
        verdict = await self._ask(attempt)
        await _note(attempt, verdict)
        match verdict:
            case Happened(outcome):
                attempt.call_nobody()
                attempt.intended = False  # 有了答案：拒绝就是失败，不再是不明
                return outcome
            case Underway(reason, delay, effect):
                return Snooze(reason, effect, delay)  # 意向留着：下一次还是先问
            case NotHappened():
                attempt.intended = False  # 先前的不明已有答案
            case None if not (self.resend or await _decided_by_person(attempt)):
                return Uncertain(Reason("outbox.unverified"))
        return await self.handler(attempt)

    async def _ask(self, attempt: Attempt[P]) -> VerifiedOutcome | None:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.verify(attempt)
        except TimeoutError:
            log.warning("查证超时", seconds=PATIENCE)
            return None


async def _decided_by_person(attempt: Attempt) -> bool:
    """最近一次不明之后，有没有人让它重来；一次决定只抵一次，再不明就再等人。"""
    async with attempt.pool.connection() as connection:
        cursor = await connection.execute(load("kaguan.outbox.work", "last_decision"), {"task_id": attempt.task_id})
        row = await cursor.fetchone()
    return row is not None and row[0] == TaskEventKind.RETRIED


async def _note(attempt: Attempt, verdict: VerifiedOutcome | None) -> None:
    """时间线上留一笔：问过，对方怎么说。"""
    answer = {Happened: "happened", NotHappened: "not_happened", Underway: "underway"}.get(type(verdict), "unknown")
    log.info("查证完毕", answer=answer)
    parameters = {**attempt.token._asdict(), "attempt": attempt.attempt, "detail": Jsonb({"answer": answer})}
    async with attempt.transaction() as connection:
        await connection.execute(load("kaguan.outbox.work", "note_verified"), parameters)
