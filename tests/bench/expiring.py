"""第 22 行：保留期。每秒 2,000 个照常进来做完，旁边一批批地删过期的：删得过不过来，慢了没有，地方还了没有。"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import LiteralString

from kaguan.database.sql import load
from kaguan.dev.postgres import DATABASE
from kaguan.outbox.operate.compaction import LOOSE
from kaguan.outbox.operate.retention import PACKAGE
from tests.bench.comparison import MeasureError, Result, Target, absolute, at_most, ratio
from tests.bench.laboratory import Laboratory
from tests.bench.load import Load
from tests.bench.steady import GRACE, LATENCIES, open_steady, run

RATE = 2_000
MIB = 2**20
OLD_TASKS = 150_000
# 一年多以前做完的，与真的一样宽
OLD = """
insert into tb_task (
    id, type, queue, principal, request_id, payload, max_attempts, traceparent, created_at, available_at,
    status, attempt, claim_id, queued_at, started_at, finished_at, result
)
select
    uuidv7(interval '-400 days'), 'email:send', 'default', 'old', gen_random_uuid()::text,
    '{"v": 1, "to": ["customer@example.com"], "subject": "usage", "body": "your cards used 80 percent"}', 6,
    '00-' || md5(n::text) || '-' || substr(md5(n::text), 1, 16) || '-00', at, at, 'succeeded', 1, gen_random_uuid(),
    at, at, at, '{"n": 1}'
from generate_series(1, %s) as n, lateral (select now() - interval '400 days' + n * interval '1 ms') as t (at)
"""
EXPIRED: LiteralString = "select count(*) from tb_task where finished_at < now() - interval '300 days'"
# 先数后看钟：数一遍要走过整张表，是量的人的，不在量的那一段里
LEFT = f"with left_over as materialized ({EXPIRED}) select clock_timestamp(), count from left_over"
SIZE = "select sum(pg_total_relation_size(relid)) from pg_stat_user_tables"
SPARE = load(PACKAGE, "spare_room")
PATIENCE, LOOK = 120.0, 0.5  # 秒


@dataclass(frozen=True, slots=True)
class Expiring:
    laboratory: Laboratory
    load: Load

    async def beside(self) -> list[Result]:
        laboratory, scale = self.laboratory, self.laboratory.scale
        alone = (await run(laboratory, self.load, RATE, [scale.steady_seconds])).windows[0]
        other = await laboratory.number(SIZE)  # 照常进来的占的
        await laboratory.clean()
        await laboratory.execute(OLD, (OLD_TASKS,))
        await laboratory.execute("analyze tb_task")
        await laboratory.checkpoint()  # 与没有过期的那一段一样，从刚做完检查点开始
        full = await laboratory.number(SIZE)
        async with open_steady(laboratory, self.load) as steady:
            await steady.warm(RATE)
            ((since, most),) = await laboratory.execute(LEFT)
            await steady.press(RATE, scale.steady_seconds)
            await asyncio.sleep(GRACE)  # 与别的稳态一样：这么久之后还没做完的算落下
            await steady.settled()
            ((until, least),) = await laboratory.execute(LEFT)
            await laboratory.until_none(EXPIRED, PATIENCE, LOOK)
            await self._given_back()
        kept = max(0.0, await laboratory.number(SIZE) - other)
        ((tasks, (_, p95, _), late),) = await laboratory.execute(LATENCIES, (GRACE, since))
        if not least or late or alone.left:
            raise MeasureError(f"过期的删到还剩 {least} 个，{late} 个任务落下：不够算")
        seconds = (until - since).total_seconds()
        what = f"{RATE:,}/s 稳态（{tasks:,} 个），旁边清理过期的"
        measured = f"{most - least:,} 个，{seconds:.1f} 秒"
        return [
            absolute(22, f"{what}：每秒删", [(most - least) / seconds], " 个", Target(RATE), measured),
            ratio(22, f"{what}：受理 → 开始 P95 ÷ 没有过期的", [p95], [alone.p95], "ms", at_most(1.5, 1.1)),
            ratio(22, "过期的删完之后占的地方 ÷ 之前", [kept / MIB], [full / MIB], "MiB", at_most(0.5, 0.1)),
        ]

    async def _given_back(self) -> None:
        """自动清理迟早会做的，这里做；等保留期的循环（一分钟看一眼）把末尾的挪到前面。等不到，照样量。"""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while True:
                    await self.laboratory.administer("vacuum (analyze)", database=DATABASE)
                    ((blocks, living, _),) = await self.laboratory.administer(SPARE, database=DATABASE)
                    if blocks <= (LOOSE + 0.1) * float(living):
                        return
                    await asyncio.sleep(LOOK)
