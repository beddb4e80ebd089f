"""账本：没有唯一约束的一张表，每次生效记一行。重复在这里藏不住。"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from kaguan.database.pool import Connection
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Done, Outcome

TABLE = "chaos_effect"
CREATE = (
    "create table chaos_effect (task_id uuid not null, delivery int not null, at timestamptz default clock_timestamp())"
)
INSERT = "insert into chaos_effect (task_id, delivery) values (%s, %s)"
MIXED = "mixed"
SLOW_SHARE = 0.25  # 这么多的任务做得慢，给故障留出下手的时间
SLOW = (0.5, 2.0)  # 秒
FAST = (0.0, 0.03)


@dataclass(frozen=True, slots=True)
class LedgerHandler:
    """占用一会儿，然后在结算的事务里记一行。

    Attributes:
        effect_first: 对照：先记账、后结算，两个事务。
        pace: ``mixed`` （有快有慢），或固定的秒数。
    """

    effect_first: bool = False
    pace: str = MIXED

    async def __call__(self, attempt: Attempt) -> Outcome:
        async def write(connection: Connection) -> None:
            await connection.execute(INSERT, (attempt.task_id, attempt.delivery))

        if self.effect_first:
            async with attempt.transaction() as connection:
                await write(connection)
        await asyncio.sleep(self._seconds())
        return Done({"ledger": 1}, None if self.effect_first else write)

    def _seconds(self) -> float:
        if self.pace != MIXED:
            return float(self.pace)
        slow = random.random() < SLOW_SHARE
        return random.uniform(*(SLOW if slow else FAST))
