"""同步用的 SQL：库存翻页、状态与资料与用量的批量写入、检查点。连接是参数，从不提交。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.sims.cards import CardInfo, CardStatus, DayUsage
from kaguan.sims.sync_tally import Tally
from kaguan.sims.vocabulary import PACKAGE, Carrier, SyncType


@dataclass(frozen=True, slots=True)
class CardToCheck:
    iccid: str
    carrier: Carrier
    done: bool  # 本任务这一轮已经问过
    fresh: bool  # 还在新鲜期内


@dataclass(frozen=True, slots=True)
class AppliedStatuses:
    matched: int
    changes: list[dict[str, str]]  # {iccid, old, new}
    missing_here: list[str]


@dataclass(frozen=True, slots=True)
class AppliedRows:
    """``inserted`` 只有用量才有；``different`` 是原有而被改正的卡。"""

    inserted: int
    updated: int
    unchanged: int
    different: list[str]


@dataclass(slots=True)
class Checkpoint:
    """一个 (运营商, 类型, 业务日) 走到了哪里。

    ``cursor``：按库存问的是上一批最大的 id，变更列表是下一页的位置，按名单问的是这一轮头一次问的时刻。
    """

    carrier: Carrier
    sync_type: SyncType
    day: date
    cursor: str | None = None
    batches: int = 0
    tally: Tally = field(default_factory=Tally)
    done: bool = False


async def database_now(connection: Connection) -> datetime:
    """PostgreSQL 的钟；状态的先后只按它论。"""
    return (await _row(connection, "database_now", {}))[0]  # type: ignore[no-any-return] # 行的类型是 Any，这一列是 timestamptz


async def cards_to_check(
    connection: Connection, asked: Sequence[tuple[UUID, Sequence[str]]], freshness: float
) -> list[list[CardToCheck]]:
    """几个任务各自点名（任务号，ICCID）的卡里在库的那些。"""
    named = [(task_id, iccid) for task_id, iccids in asked for iccid in iccids]
    task_ids, iccids = ([list(column) for column in zip(*named, strict=True)]) if named else ([], [])
    found: dict[UUID, list[CardToCheck]] = {}
    parameters = {"task_ids": task_ids, "iccids": iccids, "freshness": freshness}
    cursor = await connection.execute(load(PACKAGE, "sims_to_check"), parameters)
    async for task_id, iccid, carrier, done, fresh in cursor:
        found.setdefault(task_id, []).append(CardToCheck(iccid, Carrier(carrier), done, fresh))
    return [found.get(task_id, []) for task_id, _ in asked]


async def inventory_page(connection: Connection, carrier: Carrier, after: int, limit: int) -> list[tuple[int, str]]:
    """``id`` 大于 ``after`` 的至多 ``limit`` 张在册的卡：(id, iccid)。"""
    parameters = {"carrier": carrier, "after": after, "limit": limit}
    cursor = await connection.execute(load(PACKAGE, "inventory_page"), parameters)
    return [(identity, iccid) async for identity, iccid in cursor]


async def apply_statuses(
    connection: Connection, carrier: Carrier, cards: Sequence[CardStatus], asked_at: datetime, task_id: UUID
) -> AppliedStatuses:
    """写入一批状态；变了的在同一条语句里记下 tb_sim_event。"""
    parameters = {
        "carrier": carrier,
        "iccids": [card.iccid for card in cards],
        "states": [card.state for card in cards],
        "raws": [card.raw for card in cards],
        "sessions": [card.session for card in cards],
        "reasons": [card.suspend_reason for card in cards],
        "asked_at": asked_at,
        "task_id": task_id,
    }
    return AppliedStatuses(*await _row(connection, "apply_statuses", parameters))


async def apply_infos(
    connection: Connection, carrier: Carrier, cards: Sequence[CardInfo], asked_at: datetime
) -> AppliedRows:
    """写入一批卡资料（号码、IMSI、激活日）。"""
    parameters = {
        "carrier": carrier,
        "iccids": [card.iccid for card in cards],
        "msisdns": [card.msisdn for card in cards],
        "imsis": [card.imsi for card in cards],
        "activated": [card.activated_on for card in cards],
        "asked_at": asked_at,
    }
    matched, updated, different = await _row(connection, "apply_infos", parameters)
    return AppliedRows(0, updated, matched - updated, different)


async def upsert_usage(
    connection: Connection, carrier: Carrier, day: date, cards: Sequence[DayUsage], asked_at: datetime
) -> AppliedRows:
    """写入一批日用量；``cards`` 里卡号不得重复。"""
    parameters = {
        "carrier": carrier,
        "day": day,
        "iccids": [card.iccid for card in cards],
        "data_bytes": [card.data_bytes for card in cards],
        "sms_counts": [card.sms_count for card in cards],
        "revisions": [card.revision for card in cards],
        "asked_at": asked_at,
    }
    inserted, updated, different = await _row(connection, "upsert_usage", parameters)
    return AppliedRows(inserted, updated, len(cards) - inserted - updated, different)


async def load_checkpoints(connection: Connection, task_id: UUID) -> list[Checkpoint]:
    """任务的全部检查点。"""
    cursor = await connection.execute(load(PACKAGE, "checkpoints"), {"task_id": task_id})
    return [
        Checkpoint(
            carrier=Carrier(carrier),
            sync_type=SyncType(kind),
            day=day,
            cursor=position,
            batches=batches,
            tally=Tally.of(stored),
            done=done,
        )
        async for carrier, kind, day, position, batches, stored, done in cursor
    ]


async def save_checkpoint(connection: Connection, task_id: UUID, checkpoint: Checkpoint) -> None:
    parameters = {
        "task_id": task_id,
        "carrier": checkpoint.carrier,
        "sync_type": checkpoint.sync_type,
        "day": checkpoint.day,
        "cursor": checkpoint.cursor,
        "batches": checkpoint.batches,
        "counters": Jsonb(checkpoint.tally.to_json()),
        "done": checkpoint.done,
    }
    await connection.execute(load(PACKAGE, "save_checkpoint"), parameters)


async def _row(connection: Connection, name: str, parameters: dict[str, Any]) -> tuple[Any, ...]:
    cursor = await connection.execute(load(PACKAGE, name), parameters)
    row = await cursor.fetchone()
    if row is None:
        raise LookupError(f"{name} 应当恰好返回一行")
    return row
