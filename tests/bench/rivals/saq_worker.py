"""对手三：光秃秃的 SAQ。一个 Worker、一个什么也不做的函数、与我们相同的并发数；uvloop 也给它。"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import uvloop
from saq.queue.redis import RedisQueue
from saq.worker import Worker

if TYPE_CHECKING:
    from saq.types import Context

QUEUE = "bare"
FUNCTION = "noop"


async def noop(_context: Context, *, task_id: str, delivery: int) -> None:
    """参数与我们的投递相同，什么也不做。"""
    del task_id, delivery


async def main() -> None:
    queue = RedisQueue.from_url(os.environ["RIVAL_REDIS_URL"], name=QUEUE)
    worker: Worker[Any] = Worker(queue, [(FUNCTION, noop)], concurrency=int(os.environ["RIVAL_CONCURRENCY"]))
    await worker.start()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    uvloop.run(main())
