"""第 22 行：保留期。每秒 2,000 个照常进来做完，旁边一批批地删过期的，删得过不过来。"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.bench.comparison import MeasureError, Result, Target, absolute, at_most
from tests.bench.steady import LATENCIES, open_steady
from tests.support.alongside import alongside

if TYPE_CHECKING:
    from tests.bench.laboratory import Laboratory
    from tests.bench.load import Load

RATE = 2_000
OLD_TASKS = 100_000
LOOK = 0.5  # 秒
ENOUGH = 3
GRACE = 1.0  # 秒：与别的稳态一样，最后一个到达这么久之后还没做完的算落下
# 一年多以前做完的，与真的一样宽
OLD = """
insert into tb_task (
    id, type, queue, principal, request_id, fingerprint, payload, max_attempts, traceparent, created_at, available_at,
    status, attempt, claim_id, queued_at, started_at, finished_at, result
)
select
    uuidv7(interval '-400 days'), 'email:send', 'default', 'old', gen_random_uuid()::text, sha256(n::text::bytea),
    '{"v": 1, "to": ["customer@example.com"], "subject": "usage", "body": "your cards used 80 percent"}', 6,
    '00-' || md5(n::text) || '-' || substr(md5(n::text), 1, 16) || '-00', at, at, 'succeeded', 1, gen_random_uuid(),
    at, at, at, '{"n": 1}'
from generate_series(1, %s) as n, lateral (select now() - interval '400 days' + n * interval '1 ms') as t (at)
"""
LEFT = "select count(*) from tb_task where finished_at < now() - interval '300 days'"


@dataclass(frozen=True, slots=True)
class Expiring:
    laboratory: Laboratory
    load: Load
    seen: list[tuple[float, float]] = field(default_factory=list)  # 何时，还剩几个过期的

    async def beside(self) -> list[Result]:
        laboratory, scale = self.laboratory, self.laboratory.scale
        await laboratory.clean()
        await laboratory.execute(OLD, (OLD_TASKS,))
        await laboratory.execute("analyze tb_task")
        self.seen.clear()
        async with open_steady(laboratory, self.load) as steady:
            ((since,),) = await laboratory.administer("select clock_timestamp()")
            async with alongside(self._watch(), "watch"):
                await steady.press(RATE, scale.steady_seconds)
            await asyncio.sleep(GRACE)
            await steady.settled()
        ((tasks, (_, p95, _), left),) = await laboratory.execute(LATENCIES, (GRACE, since))
        during = [one for one in self.seen if one[1] > 0]
        if len(during) < ENOUGH or left:
            raise MeasureError(f"看到了 {len(during)} 次还有过期的，{left} 个任务落下：不够算")
        (began, most), (ended, least) = during[0], during[-1]
        rate = (most - least) / (ended - began)
        what = f"{RATE:,}/s 稳态（{tasks:,} 个），旁边清理过期的"
        measured = f"{most - least:,.0f} 个，{ended - began:.1f} 秒"
        return [
            absolute(22, f"{what}：每秒删", [rate], " 个", Target(RATE), measured),
            absolute(22, f"{what}：受理 → 开始 P95", [p95], " ms", at_most(100, None)),
        ]

    async def _watch(self) -> None:
        while True:
            self.seen.append((time.monotonic(), await self.laboratory.number(LEFT)))
            await asyncio.sleep(LOOK)
