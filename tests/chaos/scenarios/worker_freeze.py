"""一个 worker 冻住几秒（SIGSTOP、虚拟机暂停）：它醒来时已断了线，Redis 在那期间塞给它的投递多久之后才有人做。"""

from __future__ import annotations

import asyncio
import signal

from tests.chaos.scenarios import bulk
from tests.chaos.scenarios.outcome import Outcome
from tests.chaos.servers import Servers
from tests.chaos.stage import Cast, staged

FREEZE = 7.0  # 秒：长于 Redis 客户端的时限，短于租约
REDIS_TIMEOUT = 3.0  # 秒（``PACE``）
ROUNDS = 14  # 冻住期间提交几次，均匀铺开
TASKS = 10  # 每次
LEASE = 15.0  # 秒
MARGIN = 2.0  # 秒：与 worker-kill 同一条线
SLACK = 1.0  # 秒
STALLED = 150.0  # 秒：产品的后备核对是 120 秒
WORST = "select max(extract(epoch from started_at - created_at))::float8 from tb_task"


async def worker_freeze(servers: Servers) -> Outcome:
    """两个 worker，冻住一个 ``FREEZE`` 秒。"""
    outcome = Outcome(f"worker-freeze（两个里冻住一个 {FREEZE:g} 秒，Redis 时限 {REDIS_TIMEOUT:g} 秒）")
    pace = {**bulk.PRODUCT_PACE, "KAGUAN_WORKER__LEASE": str(LEASE)}
    async with staged(servers, "worker_freeze", Cast(apis=1, workers=2, ledger="0", pace=pace)) as stage:
        journal = await bulk.submit(stage, TASKS)
        await bulk.settled(stage, STALLED)
        victim = stage.fleet.units["worker"][0]
        victim.send(signal.SIGSTOP)
        for _ in range(ROUNDS):
            journal += await bulk.submit(stage, TASKS, first=len(journal))
            await asyncio.sleep(FREEZE / ROUNDS)
        victim.send(signal.SIGCONT)
        await bulk.settled(stage, STALLED)
        outcome.within("等得最久的开始", await bulk.scalar(stage, WORST), LEASE + MARGIN, SLACK, "秒")
        outcome.judged(*await bulk.verdict(stage, journal))
    return outcome
