"""写下一批状态并计数；几个处理器共用。"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from kaguan.database.pool import Connection
from kaguan.outbox.work.attempt import Attempt
from kaguan.sims import sync_store
from kaguan.sims.cards import CardStatus
from kaguan.sims.events import ChangeEvents
from kaguan.sims.sync_store import AppliedStatuses, Checkpoint
from kaguan.sims.sync_tally import Count, Sample
from kaguan.sims.vocabulary import Carrier
from kaguan.words.log import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StatusRecorder:
    """``events`` 为空即不往外推；``count_unknown`` 是指标钩子：认不出的码，按运营商。"""

    events: ChangeEvents | None = None
    count_unknown: Callable[[Carrier, int], None] | None = None

    async def record(
        self,
        connection: Connection,
        checkpoint: Checkpoint,
        cards: Sequence[CardStatus],
        asked_at: datetime,
        attempt: Attempt,
    ) -> None:
        """在调用方的事务里写状态、记事件、入箱待推送的变更，并把结果计入检查点。"""
        if not cards:
            return
        _count(checkpoint, cards, await self.write(connection, checkpoint.carrier, cards, asked_at, attempt))

    async def write(
        self,
        connection: Connection,
        carrier: Carrier,
        cards: Sequence[CardStatus],
        asked_at: datetime,
        attempt: Attempt,
    ) -> AppliedStatuses:
        """只写状态、记事件、入箱待推送的变更。"""
        applied = await sync_store.apply_statuses(connection, carrier, cards, asked_at, attempt.task_id)
        if self.events is not None:
            await self.events.stage(connection, applied.changes, asked_at, attempt.after_commit)
        return applied

    def note_unknown(self, carrier: Carrier, cards: Sequence[CardStatus]) -> None:
        """在提交之后叫：没写成的批次会再来，先数就多数了。"""
        codes = [code for card in cards for code in card.unknown]
        if not codes:
            return
        log.warning("认不出运营商的码", carrier=carrier, codes=sorted(set(codes))[:10], count=len(codes))
        if self.count_unknown is not None:
            self.count_unknown(carrier, len(codes))


def _count(checkpoint: Checkpoint, cards: Sequence[CardStatus], applied: AppliedStatuses) -> None:
    tally = checkpoint.tally
    tally.count(Count.FETCHED, len(cards))
    tally.count(Count.UPDATED, len(applied.changes))
    tally.count(Count.UNCHANGED, applied.matched - len(applied.changes))
    tally.count(Count.UNKNOWN_CODES, sum(len(card.unknown) for card in cards))
    tally.sample(Sample.CHANGES, *applied.changes)
    tally.drift(Sample.DIFFERENT, [change["iccid"] for change in applied.changes])
    tally.drift(Sample.MISSING_HERE, applied.missing_here)
