"""一次用量写入的测量，独占一个进程：``sync`` 是我们的 data:sync 处理器，``loop`` 是照文档写的 psycopg 循环。

印出 JSON：每秒行数，与做到十分之一时、全程最高的常驻内存（MiB）。
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import orjson
import uvloop

from kaguan.carriers.gateway import UsageResult
from kaguan.config import Settings, load_settings
from kaguan.database.pool import Pool, open_pool
from kaguan.logging.setup import configure_logging
from kaguan.outbox.work.outcome import Done
from kaguan.sims.cards import DayUsage
from kaguan.sims.tasks import DATA_SYNC, DataSyncPayload
from kaguan.sims.vocabulary import SyncType
from tests.bench.comparison import MeasureError
from tests.bench.cpu import resident_mib
from tests.bench.usage_source import CARRIER, FIRST_DAY, PAGE, UsageSource
from tests.support.running_task import running_task
from workers.sync.handler import DataSync

LIMIT = 900.0  # 秒
UPSERT = """
insert into tb_sim_usage (iccid, day, carrier, data_bytes, sms_count, revision)
values (%s, %s, %s, %s, %s, %s)
on conflict (iccid, day) do update
set carrier = excluded.carrier, data_bytes = excluded.data_bytes, sms_count = excluded.sms_count,
    revision = excluded.revision, synced_at = now()
where excluded.revision > tb_sim_usage.revision
"""
CARDS_AFTER = "select id, iccid from tb_sim where carrier = %s and id > %s order by id limit %s"


@dataclass(slots=True)
class Memory:
    """每问一页量一次常驻内存。"""

    pages: int
    asked: int = 0
    early: float = 0.0
    peak: float = 0.0

    def look(self) -> None:
        self.asked += 1
        now = resident_mib(os.getpid())
        self.peak = max(self.peak, now)
        if self.asked <= max(self.pages // 10, 1):
            self.early = max(self.early, now)


class Watched(UsageSource):
    """问一页，看一眼内存。"""

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self._memory = memory

    async def day_usage(self, iccids: Sequence[str], day: date) -> list[UsageResult]:
        self._memory.look()
        return await super().day_usage(iccids, day)


async def sync(pool: Pool, days: int, memory: Memory) -> None:
    """真的处理器：检查点、隔离令牌、计数、进度一样不少。"""
    payload = DataSyncPayload(
        sync_type=SyncType.USAGE,
        start_date=FIRST_DAY,
        end_date=FIRST_DAY + timedelta(days=days - 1),
        batch_size=PAGE,
        carrier=CARRIER,
    )
    attempt = await running_task(pool, DATA_SYNC.name, payload)
    outcome = await DataSync({CARRIER: Watched(memory)})(attempt)
    if not isinstance(outcome, Done):
        raise MeasureError(f"没有做完：{outcome}")


async def loop(pool: Pool, days: int, memory: Memory) -> None:
    """psycopg 文档的写法：``executemany`` 加 ``on conflict``，一页一个事务；没有检查点，也不计数。"""
    source = Watched(memory)
    async with pool.connection() as connection:
        for day in (FIRST_DAY + timedelta(days=n) for n in range(days)):
            after = 0
            while page := await (await connection.execute(CARDS_AFTER, (CARRIER.value, after, PAGE))).fetchall():
                after = page[-1][0]
                usages = await source.day_usage([iccid for _, iccid in page], day)
                async with connection.transaction(), connection.cursor() as cursor:
                    await cursor.executemany(UPSERT, [row(usage, day) for usage in usages])


def row(usage: UsageResult, day: date) -> tuple[object, ...]:
    if not isinstance(usage, DayUsage):
        raise MeasureError("来源应当每张都答")
    return (usage.iccid, day, CARRIER.value, usage.data_bytes, usage.sms_count, usage.revision)


async def measure(settings: Settings, mode: str, cards: int, days: int) -> dict[str, float]:
    memory = Memory(-(-cards // PAGE) * days)
    async with asyncio.timeout(LIMIT), open_pool(settings.database, "bench") as pool:
        started = time.perf_counter()
        await (sync if mode == "sync" else loop)(pool, days, memory)
        seconds = time.perf_counter() - started
    return {"rate": cards * days / seconds, "early": memory.early, "peak": memory.peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("sync", "loop"))
    parser.add_argument("--cards", type=int, required=True)
    parser.add_argument("--days", type=int, required=True)
    options = parser.parse_args()
    settings = load_settings()
    with configure_logging(settings.logging, "worker"):
        measuring = measure(settings, options.mode, options.cards, options.days)
        sys.stdout.buffer.write(orjson.dumps(uvloop.run(measuring)))


if __name__ == "__main__":
    main()
