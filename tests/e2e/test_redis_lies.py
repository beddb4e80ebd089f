"""一套真的栈，Redis 里每个用到的键都说一遍谎；全部的谎言是 `make prove P=fuzz-redis`。"""

from __future__ import annotations

from pathlib import Path

from redis.asyncio import Redis

from kaguan.queues import keys
from tests.e2e.stack import started
from tests.fuzz.lying import Campaign, few_lies


async def test_whatever_redis_says_nothing_is_lost_or_undone_and_everybody_can_see(place: Path) -> None:
    async with (
        started(place / "data", place / "up.log") as stack,
        Redis.from_url(stack.env["KAGUAN_REDIS__URL"]) as redis,
    ):
        campaign = Campaign(stack, redis, 0.2, {keys.PRESENCE_CARDS})
        await campaign.run(few_lies())
        assert campaign.faults == []
