"""说给人听：判断变了，推给 webhook、寄一封信，不等人来问。

与记下是同一个事务：「告诉过了」与去告诉的任务同在或都不在，几个进程看着、谁死在哪一步，都恰好说一次。
告诉的路本身坏了，不走那条路说：推不出去的由信来说，寄不出去的由 webhook 来说，因此不会自己喂自己。
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg.rows import class_row

from kaguan.config import Settings
from kaguan.database.pool import AfterCommit, Connection
from kaguan.database.sql import load
from kaguan.outbox.accept.acceptance import Accepted, Count, accept_many, uncounted
from kaguan.verdict.acknowledging import acknowledged, folded
from kaguan.verdict.memory import KNOWN, PACKAGE, Kept
from kaguan.verdict.model import Concern, Level, Verdict
from kaguan.verdict.notice import Notice, Taken, is_told_by, ways
from kaguan.verdict.task import MOST

WEIGHT = {"": 0, Level.OK: 0, Level.WARN: 1, Level.BAD: 2}


@dataclass(frozen=True, slots=True)
class Telling:
    """``count`` 提交之后计数。"""

    settings: Settings
    count: Count = uncounted

    async def tell(self, connection: Connection, at: datetime, kept: Kept, after_commit: AfterCommit) -> None:
        """说变了的；没有变的一条语句也不多用。连接在记下它们的事务中。"""
        if not ways(self.settings.alerts) or not (kept.is_over or any(self._news(kept, kept.concerns))):
            return
        concerns = folded(kept.concerns, await acknowledged(connection))
        taken = await self._taken(connection, [*self._news(kept, _roots(concerns))])
        taken.sort(key=lambda one: (one.state == "cleared", one.level != Level.BAD, one.id))
        if taken:
            await self._send(connection, Notice(self.settings, at, Verdict(at, concerns).level, taken), after_commit)

    async def try_out(self, connection: Connection, after_commit: AfterCommit | None = None) -> list[Accepted]:
        """每条路上试一声；走的是同一条路，说的不是真的事。"""
        return await self._send(connection, Notice(self.settings, datetime.now(UTC), Level.OK), after_commit)

    def _news(self, kept: Kept, concerns: Iterable[Concern]) -> Iterator[Concern]:
        """够重、比告诉过的重，还没有人知道，也有路可说的。"""
        open_ways, least = ways(self.settings.alerts), WEIGHT[self.settings.alerts.least]
        for one in concerns:
            known = max(least - 1, WEIGHT[kept.told.get(one.identity, "")])
            if (
                one.acknowledged is None
                and WEIGHT[one.level] > known
                and any(is_told_by(way, one) for way in open_ways)
            ):
                yield one

    async def _taken(self, connection: Connection, news: list[Concern]) -> list[Taken]:
        asked = {
            "codes": [one.code for one in news],
            "subjects": [one.subject for one in news],
            "levels": [one.level for one in news],
            "known": sorted(KNOWN),
            "after": self.settings.alerts.after,
            "again": self.settings.alerts.again,
            "limit": MOST,
        }
        async with connection.cursor(row_factory=class_row(Taken)) as cursor:
            await cursor.execute(load(PACKAGE, "tell"), asked)
            return await cursor.fetchall()

    async def _send(self, connection: Connection, notice: Notice, after_commit: AfterCommit | None) -> list[Accepted]:
        submissions, attempts = notice.submissions(), self.settings.tasks.max_attempts
        made = await accept_many(connection, submissions, attempts, after_commit, self.count) if submissions else []
        return [one for one in made if isinstance(one, Accepted)]


def _roots(concerns: list[Concern]) -> Iterator[Concern]:
    """不比根由重的后果不单说：根由没了它还在，再说。"""
    levels = {one.identity: WEIGHT[one.level] for one in concerns}
    return (one for one in concerns if levels.get(one.because, 0) < WEIGHT[one.level])
