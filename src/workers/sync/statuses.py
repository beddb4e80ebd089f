"""写下一批状态并计数；两个处理器共用。"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaguan.sims import sync_store
from kaguan.sims.model import LifecycleState
from kaguan.sims.sync_tally import Count, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from kaguan.carriers.gateway import CardStatus
    from kaguan.database.pool import Connection
    from kaguan.sims.sync_store import Checkpoint


async def record_statuses(
    connection: Connection, checkpoint: Checkpoint, cards: Sequence[CardStatus], asked_at: datetime, task_id: UUID
) -> None:
    """在调用方的事务里写状态、记事件，并把结果计入检查点。"""
    applied = await sync_store.apply_statuses(connection, checkpoint.carrier, cards, asked_at, task_id)
    tally = checkpoint.tally
    tally.count(Count.FETCHED, len(cards))
    tally.count(Count.UPDATED, len(applied.changes))
    tally.count(Count.UNCHANGED, applied.matched - len(applied.changes))
    tally.count(Count.UNKNOWN_CODES, sum(card.state is LifecycleState.UNKNOWN for card in cards))
    tally.sample(Sample.CHANGES, *applied.changes)
    tally.drift(Sample.DIFFERENT, [change["iccid"] for change in applied.changes])
    tally.drift(Sample.MISSING_HERE, applied.missing_here)
