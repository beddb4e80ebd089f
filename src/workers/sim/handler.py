"""sim:status_sync：按名单问状态。逐卡出结果；做完的批次留得住，重试只问剩下的。"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from kaguan.carriers.gateway import CarrierError, CarrierGateway, RejectedError
from kaguan.config.model import Carriers
from kaguan.database.pool import Connection
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Outcome
from kaguan.outbox.work.places import NoPlaceError
from kaguan.sims import sync_store
from kaguan.sims.cards import CardStatus
from kaguan.sims.sync_store import CardToCheck, Checkpoint
from kaguan.sims.tasks import SimStatusPayload
from kaguan.sims.vocabulary import Carrier
from kaguan.words.log import get_logger
from kaguan.words.reasons import Reason
from workers.resources import Resources
from workers.sim.report import Report
from workers.statuses import StatusRecorder
from workers.sync.asking import ask

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SimStatusSync:
    """新鲜期内看过的卡不再问，除非 ``force_sync``；本任务这一轮已问过的，重试时也不再问；人工重来另起一轮。"""

    gateways: Mapping[Carrier, CarrierGateway]
    config: Carriers
    statuses: StatusRecorder = field(default_factory=StatusRecorder)

    async def __call__(self, attempt: Attempt[SimStatusPayload]) -> Outcome:
        payload = attempt.payload
        cards = await attempt.read(self._cards, (attempt.task_id, payload.iccids))
        points: list[Checkpoint] = []
        if going_on := {card.carrier for card in cards if card.done}:
            async with attempt.pool.connection() as connection:
                points = await sync_store.load_checkpoints(connection, attempt.task_id)
        due = [card for card in cards if not card.done and (payload.force_sync or not card.fresh)]
        report = Report(
            payload.iccids, cards, due, {point.carrier: point for point in points if point.carrier in going_on}
        )
        groups: defaultdict[Carrier, list[str]] = defaultdict(list)
        for card in due:
            groups[card.carrier].append(card.iccid)
        for carrier, iccids in groups.items():
            gateway = self.gateways.get(carrier)
            if gateway is None:
                missing = RejectedError(Reason("sims.carrier_missing", {"carrier": carrier.value}))
                report.interrupted(iccids, missing)
                continue
            try:
                async with attempt.place(carrier):
                    await self._sync_carrier(attempt, gateway, iccids, report)
            except NoPlaceError as full:
                report.turned_away(iccids, full)
        log.info("状态同步一轮完成", asked=len(due), answered=report.answered, pending=report.pending)
        return report.outcome(attempt)

    async def _cards(
        self, connection: Connection, asked: Sequence[tuple[UUID, Sequence[str]]]
    ) -> list[list[CardToCheck]]:
        return await sync_store.cards_to_check(connection, asked, self.config.freshness)

    async def _sync_carrier(self, attempt: Attempt, gateway: CarrierGateway, iccids: list[str], report: Report) -> None:
        size = gateway.capabilities.max_batch
        for start in range(0, len(iccids), size):
            attempt.checkpoint()
            if attempt.time_left() <= 0 and report.may_yield:
                return
            batch = iccids[start : start + size]
            try:
                await self._sync_batch(attempt, gateway, batch, report)
            except CarrierError as error:
                report.interrupted(batch, error)
            await attempt.report(report.answered, len(report.due), pending=report.pending)

    async def _sync_batch(self, attempt: Attempt, gateway: CarrierGateway, batch: list[str], report: Report) -> None:
        """问一批、写一批：状态、事件、检查点在一个带隔离令牌的事务里。"""
        asked_at = await attempt.read(_now, None)
        async with attempt.outside(gateway.carrier):
            results = await ask(gateway.statuses, batch)
        found = [result for result in results if isinstance(result, CardStatus)]
        checkpoint = report.checkpoint(gateway.carrier, asked_at)
        async with attempt.transaction() as connection:
            await self.statuses.record(connection, checkpoint, found, asked_at, attempt)
            checkpoint.batches += 1
            await sync_store.save_checkpoint(connection, attempt.task_id, checkpoint)
        self.statuses.note_unknown(gateway.carrier, found)
        report.take(results)


async def _now(connection: Connection, asked: Sequence[None]) -> list[datetime]:
    """在问的各自之前：都先来问，才有这条语句。"""
    return [await sync_store.database_now(connection)] * len(asked)


@asynccontextmanager
async def open_sim_status(resources: Resources) -> AsyncIterator[SimStatusSync]:
    yield SimStatusSync(resources.gateways, resources.settings.carriers, resources.statuses)
