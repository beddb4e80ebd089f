"""战役当中一直看着：最老的、本该在做却没人做的任务有多老。恢复用时由它算出来，不靠事后猜。"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg

from tests.chaos.stage import LEASE, Stage

INTERVAL = 0.25  # 秒
TIMEOUT = 3.0  # 秒：问一次库至多这么久
PROGRESS = 15.0  # 秒：多久报一次
FRESH = 2.0  # 秒：最老的不超过它，就算恢复了

# 到期而没人做的；在做、却有 FRESH 秒没有续租的（续租一拍是租约的三分之一）。按键排队的等着前一个，不算
OLDEST = f"""
    select
        (select count(*) from tb_task where status in ('pending', 'retrying')),
        coalesce(extract(epoch from clock_timestamp() - least(
            (select min(t.available_at) from tb_work w join tb_task t on t.id = w.task_id where w.lease_until is null),
            (select min(available_at) from tb_task where status in ('pending', 'retrying')
                and available_at <= clock_timestamp() and ordering_key is null
                and not exists (select from tb_work w where w.task_id = tb_task.id)),
            (select min(lease_until) - interval '{LEASE} seconds' from tb_work
                where lease_until between clock_timestamp() - interval '1 hour'
                    and clock_timestamp() + interval '{LEASE - FRESH} seconds')
        )), 0)::float8
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """``oldest`` 秒；问不到库时是 None。"""

    at: float
    oldest: float | None
    unfinished: int = 0


@dataclass(slots=True)
class Watch:
    """``describe`` 给出进度行里余下的话；``say`` 收下一行行进度。"""

    stage: Stage
    describe: Callable[[], str]
    say: Callable[[str], object]
    samples: list[Sample] = field(default_factory=list)

    async def run(self) -> None:
        """看到被取消为止。"""
        began = reported = time.monotonic()
        while True:
            try:
                async with self.stage.postgres() as connection:
                    while True:
                        await self._look(connection)
                        if time.monotonic() - reported >= PROGRESS:
                            reported = time.monotonic()
                            self._report(reported - began)
                        await asyncio.sleep(INTERVAL)
            except (psycopg.Error, OSError, TimeoutError):
                self.samples.append(Sample(time.time(), None))
                await asyncio.sleep(INTERVAL)

    async def _look(self, connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        async with asyncio.timeout(TIMEOUT):
            row = await (await connection.execute(OLDEST.encode())).fetchone()
        assert row is not None
        self.samples.append(Sample(time.time(), float(str(row[1])), int(str(row[0]))))

    def _report(self, seconds: float) -> None:
        last = self.samples[-1]
        self.say(f"{seconds:6.0f} 秒：{self.describe()}，未了结 {last.unfinished}，最老 {last.oldest or 0:.1f} 秒")
