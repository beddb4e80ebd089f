"""``python -m tests.fuzz.lies``：一套真的栈，Redis 里每个键的每样谎言一个接一个；0 即没有毛病。"""

from __future__ import annotations

import asyncio
import random
import sys
import time

from redis.asyncio import Redis

from kaguan.queues import keys
from tests.e2e.stack import started
from tests.fuzz.lying import BACK_WITHIN, Campaign, all_lies
from tests.support.places import temporary_place

HOLD = 2.5  # 秒：心跳一拍多


async def main(seed: int) -> int:
    lies = list(all_lies())
    random.Random(seed).shuffle(lies)
    with temporary_place("lies") as place:
        async with (
            started(place / "data", place / "up.log", as_shipped=True, extra={"KAGUAN_SCHEDULES": "[]"}) as stack,
            Redis.from_url(stack.env["KAGUAN_REDIS__URL"]) as redis,
        ):
            campaign = Campaign(stack, redis, HOLD, keys.KINDS)
            await campaign.run([lie] for lie in lies)
    if campaign.slowest > BACK_WITHIN:
        campaign.faults.append(f"{campaign.slowest_lie}: {campaign.slowest:.1f} s > {BACK_WITHIN:.0f} s")
    told = f"seed {seed}: {len(lies)} lies, {len(campaign.faults)} faults, slowest back after {campaign.slowest:.1f} s"
    sys.stdout.write("\n".join([*campaign.faults, told, ""]))
    return 1 if campaign.faults else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else time.time_ns() % 10**9)))
