"""积压、手慢、一场重投：投递放大（每个任务投了几次）。"""

from __future__ import annotations

from tests.chaos.campaign import OPEN
from tests.chaos.meter import Meter, depth_bounds, metered
from tests.chaos.scenarios import bulk
from tests.chaos.scenarios.outcome import Outcome
from tests.chaos.servers import Servers
from tests.chaos.stage import Cast, staged
from tests.support.eventually import PATIENCE, eventually

AMPLIFICATION = 1.15  # 次/个：目标
SLOW = "0.05"  # 秒：每个任务占用
FLUSH_AT = 0.7  # 还剩这么多未了结时清空
STALLED = 60.0  # 秒
QUEUED = "select count(*)::float8 from tb_work where lease_until is null"


async def storm(servers: Servers, count: int, high_water: int | None = None) -> Outcome:
    """``count`` 个积压，三个队列都有；做到三成时 FLUSHALL。``high_water`` 不给就是产品的默认。"""
    outcome = Outcome(f"storm（积压 {count} 个，每个 {SLOW} 秒，一次 FLUSHALL）")
    pace = bulk.PRODUCT_PACE | ({} if high_water is None else {"KAGUAN_RELAY__HIGH_WATER": str(high_water)})
    cast = Cast(apis=1, ledger=SLOW, pace=pace)
    async with staged(servers, "storm", cast) as stage, metered(Meter(stage, lambda: 0.0)) as meter:
        journal = await bulk.submit(stage, count)

        async def under_way() -> bool:
            return (await bulk.scalar(stage, OPEN) or 0) <= count * FLUSH_AT

        await eventually(under_way, 5 * PATIENCE)
        held = int(await bulk.scalar(stage, QUEUED) or 0)
        async with stage.redis() as client:
            await client.flushall()
        seconds = await bulk.settled(stage, STALLED)
        verdict, causes = await bulk.verdict(stage, journal)
        outcome.figures["清空时在 Redis 里排着"] = f"{held} 个，都要再投一次：放大至少 {1 + held / count:.3f}"
        outcome.figures["清空之后做完"] = f"{seconds:.1f} 秒"
        mark, overshoot = depth_bounds(cast)
        deepest = max(reading.depth for reading in meter.readings)
        outcome.within("一个队列在 Redis 里等着的最多", float(deepest), mark, overshoot, "个")
        outcome.judged(verdict, causes)
        outcome.within("投递放大", float(verdict.figures["投递放大"]), AMPLIFICATION, 0, "次/个")
    return outcome
