"""处理器登记：每种任务恰好一行，缺一行导入时就报错。加一种任务见使用指南「加一种任务」。"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

from kaguan.outbox.vocabulary import TaskType, complete
from kaguan.outbox.worker.attempt import Handler
from workers.email.handler import open_email
from workers.event.handler import open_event
from workers.resources import Resources, open_resources
from workers.sim.handler import open_sim_status
from workers.sync.handler import open_data_sync

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from redis.asyncio import Redis

    from kaguan.config import Settings
    from kaguan.telemetry.metrics import Metrics

# 处理器自己的连接在此打开，离开时关闭
Opener: TypeAlias = Callable[[Resources], AbstractAsyncContextManager[Handler]]

OPENERS: dict[TaskType, Opener] = {
    TaskType.EMAIL_SEND: open_email,
    TaskType.DATA_SYNC: open_data_sync,
    TaskType.SIM_STATUS_SYNC: open_sim_status,
    TaskType.EVENT_PUBLISH: open_event,
}
complete(OPENERS, "处理器")


@asynccontextmanager
async def open_handlers(
    settings: Settings, redis: Redis, metrics: Metrics
) -> AsyncIterator[Mapping[TaskType, Handler]]:
    """每种任务类型的处理器。"""
    async with AsyncExitStack() as stack:
        resources = await stack.enter_async_context(open_resources(settings, redis, metrics))
        yield {task_type: await stack.enter_async_context(opener(resources)) for task_type, opener in OPENERS.items()}
