"""一次状态同步的账：做成的跨尝试累加在检查点里，没做成的只算本次（它们总会被再问）。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kaguan.carriers.gateway import UNASKED, CardFailed, CardNotFound, CarrierError, QueuedError, StatusResult
from kaguan.carriers.records import EXPLAINED
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Discard, Done, Outcome, Retry, Snooze
from kaguan.outbox.work.places import NoPlaceError, waiting_for_place
from kaguan.sims.sync_store import CardToCheck, Checkpoint
from kaguan.sims.sync_tally import SAMPLE_LIMIT, Count, Sample, Tally
from kaguan.sims.vocabulary import Carrier, SyncType
from kaguan.words.reasons import NOTHING, Reason
from workers.pauses import PAUSE, queued_pause

NOT_ASKED = frozenset(error.code for error in UNASKED)


@dataclass(slots=True)
class Report:
    """``asked`` 是点名的卡，``cards`` 是其中在库的，``due`` 是这次要问的。"""

    asked: tuple[str, ...]
    cards: list[CardToCheck]
    due: list[CardToCheck]
    checkpoints: dict[Carrier, Checkpoint]
    answered: int = 0
    progressed: bool = False  # 这次尝试写下过状态
    pending: int = 0  # 暂时没问成，值得重试
    queued: int = 0  # 其中没有去问的：排不上我们自己的限额，或断路器断开着
    delay: float | None = None  # 秒；对方要求的等待下限里最长的
    full: NoPlaceError | None = None  # 没有名额而还没去问的，在等谁
    reason: Reason = NOTHING
    problems: Tally = field(default_factory=Tally)

    def checkpoint(self, carrier: Carrier, at: datetime) -> Checkpoint:
        """这家这一轮的检查点：记着头一次问的时刻，日子是那天。"""
        if carrier not in self.checkpoints:
            self.checkpoints[carrier] = Checkpoint(carrier, SyncType.SIM_STATUS, at.date(), at.isoformat())
        return self.checkpoints[carrier]

    def take(self, results: Sequence[StatusResult]) -> None:
        """收下一批的逐卡结果（写库由处理器做）。"""
        for result in results:
            match result:
                case CardFailed(iccid, reason, retryable):
                    self.pending += retryable
                    self.queued += reason in NOT_ASKED
                    self.reason = Reason.of(reason) if retryable else self.reason
                    self.problems.fail(iccid, reason)
                case CardNotFound(iccid):
                    self.answered += 1
                    self.problems.drift(Sample.MISSING_THERE, [iccid])
                case _:
                    self.answered += 1
                    self.progressed = True

    def interrupted(self, iccids: Sequence[str], error: CarrierError) -> None:
        """整批没问成。"""
        self.take([CardFailed(iccid, error.code, error.retryable) for iccid in iccids])
        self.reason = error.reason  # 给人看的是整次调用的，逐卡的短码只进明细
        self.delay = max(self.delay or 0.0, error.retry_after or 0.0) or None

    def turned_away(self, iccids: Sequence[str], full: NoPlaceError) -> None:
        """没有名额，没有去问。"""
        self.interrupted(iccids, QueuedError(full.reason))
        self.full = full

    def outcome(self, attempt: Attempt) -> Outcome:
        """有值得重试的就重试（有进展的、没有去问的不耗尝试）；全被拒绝就放弃；其余都算完成，逐卡的失败写在结果里。"""
        unfinished = Reason("sims.cards_pending", {"count": self.pending, "reason": self.reason})
        if self.unasked and self.progressed:
            count: dict[str, Any] = {"count": self.unasked}
            both = Reason("sims.time_nearly_up_pending", {**count, "reason": unfinished})
            why = both if self.pending else Reason("sims.time_nearly_up", count)
            return Snooze(why, delay=self.delay or 0.0)
        if self.pending:
            if self.full is not None and (self.progressed or self.pending == self.queued):
                return waiting_for_place(self.full, attempt.passes)
            return self._again(unfinished, attempt.delivery)
        if self.due and not self.answered:
            why = self.reason if self.reason != NOTHING else self._first_failure()
            return Discard(Reason("sims.cards_failed", {"count": len(self.due), "reason": why}), result=self.result())
        return Done(self.result())

    def _again(self, unfinished: Reason, delivery: int) -> Outcome:
        if self.progressed:
            return Snooze(unfinished, delay=max(self.delay or 0.0, PAUSE))
        if self.pending == self.queued:
            return Snooze(unfinished, delay=max(self.delay or 0.0, queued_pause(delivery)))
        return Retry(unfinished, self.delay, outage=True, result=self.result())

    @property
    def unasked(self) -> int:
        return len(self.due) - self.answered - self.problems.counters[Count.FAILED]

    @property
    def may_yield(self) -> bool:
        """时间到了可以就此打住：做成过几张（下次从余下的接着），或明知还要重试。"""
        return self.progressed or self.pending > 0

    def _first_failure(self) -> Reason:
        """头一张失败的短码与人话；卡号只在明细里，不进日志。"""
        code: str = self.problems.samples[Sample.FAILURES][0]["reason"]
        if code not in EXPLAINED:
            return Reason.of(code)
        return Reason("sims.card_failed", {"reason": EXPLAINED[code], "failure": code})

    def result(self) -> dict[str, Any]:
        """结果：计数加有上限的明细。"""
        total = Tally()
        for checkpoint in self.checkpoints.values():
            total.merge(checkpoint.tally)
        known = {card.iccid for card in self.cards}
        unregistered = [iccid for iccid in self.asked if iccid not in known]
        synced = total.counters[Count.FETCHED]
        unsynced = self.problems.counters[Count.FAILED] + self.problems.counters[Count.MISSING_THERE]
        return {
            "total": len(self.asked),
            "synced": synced,
            "changed": total.counters[Count.UPDATED],
            "unchanged": total.counters[Count.UNCHANGED],
            "skipped_fresh": max(len(self.cards) - synced - unsynced, 0),
            "not_registered": len(unregistered),
            "not_found": self.problems.counters[Count.MISSING_THERE],
            "failed": self.problems.counters[Count.FAILED],
            "unknown_codes": total.counters[Count.UNKNOWN_CODES],
            "changes": total.samples.get(Sample.CHANGES, []),
            "failures": self.problems.samples.get(Sample.FAILURES, []),
            "not_found_iccids": self.problems.samples.get(Sample.MISSING_THERE, []),
            "not_registered_iccids": unregistered[:SAMPLE_LIMIT],
            "details_limit": SAMPLE_LIMIT,
        }
