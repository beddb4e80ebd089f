"""处理器登记：每种任务恰好一行，缺一行启动时就报错。加一种任务见使用指南「加一种任务」。"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

from redis.asyncio import Redis

from kaguan.config import Settings
from kaguan.mail.task import EMAIL_SEND
from kaguan.notices.task import TASK_NOTIFY
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.task_type import TaskType, TaskTypes
from kaguan.outbox.work.attempt import Handler
from kaguan.outbox.work.overrides import Overrides
from kaguan.sims.tasks import DATA_SYNC, EVENT_PUBLISH, SIM_CHANGE, SIM_STATUS_SYNC
from kaguan.verdict.task import VERDICT_PUSH
from workers.email.handler import open_email
from workers.event.handler import open_event
from workers.event.notice import open_notice
from workers.event.verdict import open_push
from workers.resources import Resources, open_resources
from workers.sim.changing import open_sim_change
from workers.sim.handler import open_sim_status
from workers.sync.handler import open_data_sync

# 处理器自己的连接在此打开，离开时关闭
Opener: TypeAlias = Callable[[Resources], AbstractAsyncContextManager[Handler[Any]]]

OPENERS: dict[str, Opener] = {
    EMAIL_SEND.name: open_email,
    DATA_SYNC.name: open_data_sync,
    SIM_STATUS_SYNC.name: open_sim_status,
    SIM_CHANGE.name: open_sim_change,
    EVENT_PUBLISH.name: open_event,
    TASK_NOTIFY.name: open_notice,
    VERDICT_PUSH.name: open_push,
}


@asynccontextmanager
async def open_handlers(
    settings: Settings,
    redis: Redis,
    metrics: Metrics,
    types: TaskTypes,
    overrides: Overrides | None = None,
    openers: Mapping[str, Opener] = OPENERS,
) -> AsyncIterator[Mapping[TaskType[Any], Handler[Any]]]:
    """每种任务类型的处理器；``overrides`` 是运行中另定的限额。

    Raises:
        LookupError: 有任务类型没有登记处理器。
    """
    missing = [name for name in types if name not in openers]
    if missing:
        raise LookupError(f"这些任务类型没有处理器：{missing}")
    async with AsyncExitStack() as stack:
        resources = await stack.enter_async_context(open_resources(settings, redis, metrics, overrides))
        yield {
            task_type: await stack.enter_async_context(openers[name](resources)) for name, task_type in types.items()
        }
