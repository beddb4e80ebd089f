"""队列里有十万个时 FLUSHALL：多久有第一个重投的开始，多久全部做完。"""

from __future__ import annotations

import time

from tests.chaos.scenarios import bulk
from tests.chaos.scenarios.outcome import Outcome
from tests.chaos.servers import Servers
from tests.chaos.stage import Cast, staged
from tests.support.eventually import PATIENCE, eventually

FIRST_START = 2.0  # 秒：目标
SLACK = 1.0  # 秒：两核上九个进程抢
STALLED = 60.0  # 秒
NORMAL_SHARE = 5  # 先用五分之一量平常的速率
RATIO = 1.2  # 全部做完 ÷ （个数 ÷ 平常的速率）
RATIO_SLACK = 0.8  # 清空之后还要在库里改十万行、再交一遍
FIRST = "select extract(epoch from min(started_at))::float8 from tb_task where delivery > 1"
QUEUED = "select count(*)::float8 from tb_work where lease_until is null"
NOW = "select extract(epoch from clock_timestamp())::float8"


async def flush(servers: Servers, count: int) -> Outcome:
    """``count`` 个排在 Redis 里，worker 停着；清空，放行。"""
    outcome = Outcome(f"flush-100k（{count} 个在队列里）")
    room = {"KAGUAN_RELAY__HIGH_WATER": str(count + 1), "KAGUAN_RELAY__WINDOW": str(count + 1)}
    pace = {**bulk.PRODUCT_PACE, **room, "KAGUAN_RELAY__BACKSTOP_AGE": "3600"}
    async with staged(servers, "flush", Cast(apis=1, ledger="0", pace=pace)) as stage:
        began = time.monotonic()
        journal = await bulk.submit(stage, count // NORMAL_SHARE)
        await bulk.settled(stage, STALLED)
        rate = len(journal) / (time.monotonic() - began)
        bulk.stop_workers(stage)
        journal += await bulk.submit(stage, count, first=len(journal))

        async def filled() -> bool:
            return await bulk.scalar(stage, QUEUED) == count

        await eventually(filled, 5 * PATIENCE)
        async with stage.redis() as client:
            await client.flushall()
        flushed = await bulk.scalar(stage, NOW)
        bulk.continue_workers(stage)
        first = await bulk.appears(stage, FIRST, STALLED)
        seconds = await bulk.settled(stage, STALLED)
        outcome.figures["平常的速率"] = f"{rate:.0f} 个/秒（提交、转交、执行一起，{count // NORMAL_SHARE} 个）"
        started = None if first is None or flushed is None else first - flushed
        outcome.within("第一个重投的开始", started, FIRST_START, SLACK, "秒")
        outcome.figures["全部做完"] = f"{seconds:.1f} 秒（{count / max(seconds, 0.01):.0f} 个/秒）"
        outcome.within("全部做完 ÷（个数 ÷ 平常的速率）", seconds * rate / count, RATIO, RATIO_SLACK, "倍")
        outcome.judged(*await bulk.verdict(stage, journal))
    return outcome
