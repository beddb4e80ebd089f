"""data:sync：运营商 × 业务日 × 批次。被杀在哪里，重来就从哪里接着走；计数跨尝试累加。"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from kaguan.carriers.gateway import UNASKED, CarrierError, CarrierGateway, QueuedError
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Discard, Done, Outcome, Retry, Snooze
from kaguan.outbox.work.places import NoPlaceError
from kaguan.sims import sync_store
from kaguan.sims.sync_store import Checkpoint
from kaguan.sims.sync_tally import DRIFT, SAMPLE_LIMIT, Count, Sample, Tally
from kaguan.sims.tasks import DataSyncPayload
from kaguan.sims.vocabulary import Carrier, SyncType
from kaguan.words.log import get_logger
from kaguan.words.reasons import Reason
from workers.pauses import PAUSE, queued_pause
from workers.resources import Resources
from workers.statuses import StatusRecorder
from workers.sync.passes import covers, step

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DataSync:
    gateways: Mapping[Carrier, CarrierGateway]
    statuses: StatusRecorder = field(default_factory=StatusRecorder)

    async def __call__(self, attempt: Attempt[DataSyncPayload]) -> Outcome:
        payload = attempt.payload
        carriers = [payload.carrier] if payload.carrier is not None else list(self.gateways)
        if not carriers or any(carrier not in self.gateways for carrier in carriers):
            none = [Reason("sims.no_carrier")]
            return Discard(Reason("sims.carriers_missing", {"carriers": list(carriers) or none}))
        async with attempt.pool.connection() as connection:
            known = {
                (point.carrier, point.day): point
                for point in await sync_store.load_checkpoints(connection, attempt.task_id)
            }
        plan = [
            known.get((carrier, day)) or Checkpoint(carrier, payload.sync_type, day)
            for carrier in carriers
            for day in business_days(payload)
        ]
        before = _batches(plan)
        stops = await self._run(attempt, plan)
        if stops is None:
            done = sum(checkpoint.done for checkpoint in plan)
            return Snooze(Reason("sims.parts_done", {"done": done, "parts": len(plan)}))
        log.info("数据同步一轮完成", sync_type=payload.sync_type, parts=len(plan), stopped=len(stops))
        advanced = {carrier for carrier, done in _batches(plan).items() if done > before[carrier]}
        covered = {carrier: covers(payload.sync_type, self.gateways[carrier]) for carrier in carriers}
        result = _result(payload, plan) | {"covers": covered}
        return _outcome(stops, result, advanced, attempt.delivery)

    async def _run(
        self, attempt: Attempt[DataSyncPayload], plan: list[Checkpoint]
    ) -> dict[Carrier, CarrierError] | None:
        """走完全部计划；一家走不下去就放下它，别家照走。时间到了而计划未完即为 None，此时至少推进过一批。

        Raises:
            NoPlaceError: 没走完的，都只是没有名额。
        """
        stops: dict[Carrier, CarrierError] = {}
        full: dict[Carrier, NoPlaceError] = {}
        for checkpoint in plan:
            if checkpoint.done or checkpoint.carrier in stops:
                continue
            try:
                async with attempt.place(checkpoint.carrier):
                    await self._walk(attempt, plan, checkpoint)
            except NoPlaceError as error:
                full[checkpoint.carrier] = error
                stops[checkpoint.carrier] = QueuedError(error.reason)
            except CarrierError as error:
                stops[checkpoint.carrier] = error
            if attempt.time_left() <= 0 and any(not part.done and part.carrier not in stops for part in plan):
                return None
        if full and full.keys() == stops.keys():
            raise next(iter(full.values()))
        return stops

    async def _walk(self, attempt: Attempt[DataSyncPayload], plan: list[Checkpoint], checkpoint: Checkpoint) -> None:
        """走到这一段的头，或时间到。

        Raises:
            CarrierError: 走不下去了。
        """
        while not checkpoint.done:
            attempt.checkpoint()
            try:
                await step(attempt, self.gateways[checkpoint.carrier], checkpoint, self.statuses)
            finally:
                await _report(attempt, plan)
            if attempt.time_left() <= 0:
                return


@asynccontextmanager
async def open_data_sync(resources: Resources) -> AsyncIterator[DataSync]:
    yield DataSync(resources.gateways, resources.statuses)


def business_days(payload: DataSyncPayload) -> list[date]:
    """用量按天各走一遍；状态与资料只走一遍，日子管住什么见 :class:`workers.sync.passes.Covers`。"""
    if payload.sync_type is not SyncType.USAGE:
        return [payload.start_date]
    return [payload.start_date + timedelta(days=n) for n in range((payload.end_date - payload.start_date).days + 1)]


async def _report(attempt: Attempt, plan: list[Checkpoint]) -> None:
    totals: Counter[str] = Counter()
    for checkpoint in plan:
        totals.update(checkpoint.tally.counters)
    await attempt.report(
        totals[Count.FETCHED],
        None,
        failed=totals[Count.FAILED],
        parts_done=sum(checkpoint.done for checkpoint in plan),
        parts_total=len(plan),
    )


def _batches(plan: list[Checkpoint]) -> Counter[Carrier]:
    """各家已写下几批。"""
    batches: Counter[Carrier] = Counter()
    for checkpoint in plan:
        batches[checkpoint.carrier] += checkpoint.batches
    return batches


def _outcome(
    stops: dict[Carrier, CarrierError], result: dict[str, Any], advanced: set[Carrier], delivery: int
) -> Outcome:
    """``advanced`` 是这次尝试里写下过新批次的，``delivery`` 是第几次投递。

    走着走着断了的、没有去问的（排不上限额，断路器断开着），不算失败的尝试。
    """
    if not stops:
        return Done(result)
    stopped = [
        Reason("sims.carrier_stopped", {"carrier": carrier.value, "reason": error.reason})
        for carrier, error in stops.items()
    ]
    reason = Reason("sims.carriers_stopped", {"carriers": stopped})
    passing = {carrier: error for carrier, error in stops.items() if error.retryable}
    if not passing:
        return Discard(reason, result=result)
    wait = max(error.retry_after or 0.0 for error in passing.values())
    if advanced & passing.keys():
        return Snooze(reason, delay=max(wait, PAUSE))
    if all(isinstance(error, UNASKED) for error in passing.values()):
        return Snooze(reason, delay=max(wait, queued_pause(delivery)))
    return Retry(reason, wait or None, outage=True, result=result)


def _result(payload: DataSyncPayload, plan: list[Checkpoint]) -> dict[str, Any]:
    """总数、各家的数、有上限的漂移与失败明细。"""
    total, by_carrier = Tally(), {checkpoint.carrier: Tally() for checkpoint in plan}
    for checkpoint in plan:
        total.merge(checkpoint.tally)
        by_carrier[checkpoint.carrier].merge(checkpoint.tally)
    return {
        "sync_type": payload.sync_type,
        "start_date": payload.start_date.isoformat(),
        "end_date": payload.end_date.isoformat(),
        "batches": sum(checkpoint.batches for checkpoint in plan),
        **total.count_all(),
        "carriers": {carrier: tally.count_all() for carrier, tally in by_carrier.items()},
        "drift": {kind: total.samples.get(kind, []) for kind in DRIFT},
        "failures": total.samples.get(Sample.FAILURES, []),
        "details_limit": SAMPLE_LIMIT,
    }
