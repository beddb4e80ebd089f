"""一个只会清扫的进程：SAQ 的 sweep 中止之后要等很久才放回去，给人留出杀它的时间。"""

from __future__ import annotations

import asyncio

from saq.queue.redis import RedisQueue

from kaguan.config import load_settings
from kaguan.outbox.deliver.deliveries import build_queues
from kaguan.outbox.vocabulary import Priority
from kaguan.queues.client import open_redis

WINDOW = 60.0  # 秒；SAQ 自己用 5 秒


async def main() -> None:
    async with open_redis(load_settings().redis) as redis:
        await RedisQueue.sweep(build_queues(redis)[Priority.DEFAULT], lock=1, abort=WINDOW)


if __name__ == "__main__":
    asyncio.run(main())
