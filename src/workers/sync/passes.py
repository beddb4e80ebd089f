"""data:sync 的一步：问一批，写一批，检查点在同一个带隔离令牌的事务里前进。"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum
from functools import partial
from typing import TypeAlias

from kaguan.carriers.gateway import CardFailed, CardNotFound, CarrierGateway
from kaguan.database.pool import Connection
from kaguan.outbox.work.attempt import Attempt
from kaguan.sims import sync_store
from kaguan.sims.cards import CardInfo, CardStatus, DayUsage
from kaguan.sims.sync_store import AppliedRows, Checkpoint
from kaguan.sims.sync_tally import Count, Sample, Tally
from kaguan.sims.tasks import DataSyncPayload
from kaguan.sims.vocabulary import SyncType
from workers.statuses import StatusRecorder
from workers.sync.asking import ask_page, page_limit
from workers.sync.listing import Position, next_page

Result: TypeAlias = CardStatus | CardInfo | DayUsage | CardNotFound | CardFailed


class Covers(StrEnum):
    """所给的日子管住了什么。"""

    DAYS = "days"  # 每个业务日一遍
    CHANGES = "changes"  # 最近一次变更在这些日子里的卡
    INVENTORY = "inventory"  # 对方只答得出此刻：在册的卡全问，哪些日子里变的都在内


def covers(sync_type: SyncType, gateway: CarrierGateway) -> Covers:
    if sync_type is SyncType.USAGE:
        return Covers.DAYS
    listed = sync_type is SyncType.SIM_STATUS and gateway.capabilities.page_size
    return Covers.CHANGES if listed else Covers.INVENTORY


async def step(
    attempt: Attempt[DataSyncPayload], gateway: CarrierGateway, checkpoint: Checkpoint, statuses: StatusRecorder
) -> None:
    """走一步；走到头就置 ``checkpoint.done``。

    Raises:
        CarrierError: 这批整个没问成；检查点原地不动。
        FencedError: 令牌已失效；什么都没写。
    """
    if covers(checkpoint.sync_type, gateway) is Covers.CHANGES:
        await _listing_step(attempt, gateway, checkpoint, attempt.payload.end_date, statuses)
    else:
        limit = page_limit(attempt.payload.batch_size, gateway.capabilities)
        await _inventory_step(attempt, gateway, checkpoint, limit, statuses)


async def _inventory_step(
    attempt: Attempt, gateway: CarrierGateway, checkpoint: Checkpoint, limit: int, statuses: StatusRecorder
) -> None:
    """按库存一批一批地问。"""
    after = int(checkpoint.cursor or 0)
    async with attempt.pool.connection() as connection:
        asked_at = await sync_store.database_now(connection)
        page = await sync_store.inventory_page(connection, checkpoint.carrier, after, limit)
    async with attempt.outside(gateway.carrier):
        results = await _ask(gateway, checkpoint, [iccid for _, iccid in page]) if page else []
    cards = found(results)
    async with attempt.transaction() as connection:
        await statuses.record(connection, checkpoint, cards, asked_at, attempt)
        await _record(connection, checkpoint, results, asked_at)
        checkpoint.cursor = str(page[-1][0]) if page else checkpoint.cursor
        checkpoint.batches += bool(page)
        checkpoint.done = len(page) < limit
        await sync_store.save_checkpoint(connection, attempt.task_id, checkpoint)
    statuses.note_unknown(checkpoint.carrier, cards)


async def _listing_step(
    attempt: Attempt, gateway: CarrierGateway, checkpoint: Checkpoint, last: date, statuses: StatusRecorder
) -> None:
    """按运营商的变更列表一页一页地取，到 ``last`` 那天过完为止；怎么翻才不漏见 :mod:`workers.sync.listing`。"""
    async with attempt.pool.connection() as connection:
        asked_at = await sync_store.database_now(connection)
    position = Position.of(checkpoint.cursor, checkpoint.day, last, asked_at)
    async with attempt.outside(gateway.carrier):
        number, page = await next_page(gateway, position)
    following, cards = position.after(number, asked_at), found(page.results)
    async with attempt.transaction() as connection:
        await statuses.record(connection, checkpoint, cards, asked_at, attempt)
        await _record(connection, checkpoint, page.results, asked_at)
        checkpoint.cursor = checkpoint.cursor if following is None else following.model_dump_json()
        checkpoint.batches += 1
        checkpoint.done = following is None
        await sync_store.save_checkpoint(connection, attempt.task_id, checkpoint)
    statuses.note_unknown(checkpoint.carrier, cards)


async def _ask(gateway: CarrierGateway, checkpoint: Checkpoint, iccids: list[str]) -> Sequence[Result]:
    size = gateway.capabilities.max_batch
    match checkpoint.sync_type:
        case SyncType.USAGE:
            return await ask_page(partial(gateway.day_usage, day=checkpoint.day), iccids, size)
        case SyncType.SIM_INFO:
            return await ask_page(gateway.infos, iccids, size)
        case SyncType.SIM_STATUS:
            return await ask_page(gateway.statuses, iccids, size)


async def _record(
    connection: Connection, checkpoint: Checkpoint, results: Sequence[Result], asked_at: datetime
) -> None:
    """写下问到的资料与用量，计下没问到的；状态另由 :class:`StatusRecorder` 写。"""
    tally = checkpoint.tally
    for result in results:
        if isinstance(result, CardFailed):
            tally.fail(result.iccid, result.reason)
    tally.drift(Sample.MISSING_THERE, [result.iccid for result in results if isinstance(result, CardNotFound)])
    if infos := [result for result in results if isinstance(result, CardInfo)]:
        _count(tally, await sync_store.apply_infos(connection, checkpoint.carrier, infos, asked_at), len(infos))
    if usages := [result for result in results if isinstance(result, DayUsage)]:
        applied = await sync_store.upsert_usage(connection, checkpoint.carrier, checkpoint.day, usages, asked_at)
        _count(tally, applied, len(usages))


def found(results: Sequence[Result]) -> list[CardStatus]:
    return [result for result in results if isinstance(result, CardStatus)]


def _count(tally: Tally, applied: AppliedRows, fetched: int) -> None:
    tally.count(Count.FETCHED, fetched)
    tally.count(Count.INSERTED, applied.inserted)
    tally.count(Count.UPDATED, applied.updated)
    tally.count(Count.UNCHANGED, applied.unchanged)
    tally.drift(Sample.DIFFERENT, applied.different)
