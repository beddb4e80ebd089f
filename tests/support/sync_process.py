"""跑一次同步的进程，供测试随时 SIGKILL：``python -m tests.support.sync_process <任务号> <投递号> <认领号>``。

处理器与产品的 worker 同一套。
"""

from __future__ import annotations

import asyncio
import sys
from uuid import UUID

from kaguan.config import Settings, load_settings
from kaguan.database.pool import open_pool
from kaguan.logging.setup import configure_logging
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.fence import Fence, Token
from kaguan.outbox.work.outcome import Done
from kaguan.product.task_types import TASK_TYPES
from kaguan.queues.client import open_redis
from tests.support.carrier_world import rows
from workers.registry import open_handlers


async def run(settings: Settings, token: Token) -> bool:
    async with (
        open_pool(settings.database, "test", planned_once=True) as pool,
        open_redis(settings.redis) as redis,
        open_handlers(settings, redis, Metrics(), TaskTypes(TASK_TYPES)) as handlers,
    ):
        ((kind, payload),) = await rows(pool, "select type, payload from vw_task where id = %s", token.task_id)
        known = TaskTypes(handlers)[kind]
        outcome = await handlers[known](Attempt(Fence(pool, token), kind, 1, 6, known.read(payload)))
        return isinstance(outcome, Done)


def main() -> int:
    settings = load_settings()
    task_id, delivery, claim_id = sys.argv[1:]
    token = Token(UUID(task_id), int(delivery), UUID(claim_id))
    with configure_logging(settings.logging, "worker"):
        return 0 if asyncio.run(run(settings, token)) else 1


if __name__ == "__main__":
    sys.exit(main())
