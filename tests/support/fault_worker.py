"""故障用例的 worker 进程：真实的组合根，处理器照邮件主题里的剧本演。

剧本：``quick`` 立刻做完；``slow:秒`` 占用这么久；``gate:文件`` 等到有它；``hang`` 不肯停；``crash`` 弄死整个进程。
做完的在结算的事务里记一行。
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from kaguan.config import Process, Settings
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.task_type import TaskType, TaskTypes
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.outcome import Outcome
from kaguan.outbox.work.overrides import Overrides
from kaguan.product.process import run_process
from kaguan.product.task_types import task_types
from tests.support.eventually import eventually
from tests.support.fault_plant import Effects
from tests.support.played import played
from workers.__main__ import serve

CRASHED = 70  # 退出码


async def scripted(attempt: Attempt[Any]) -> Outcome:
    act, _, argument = attempt.payload.subject.partition(":")
    match act:
        case "crash":
            os._exit(CRASHED)
        case "hang":
            await asyncio.Event().wait()
        case "gate":
            await eventually(Path(argument).exists)
        case "slow":
            await asyncio.sleep(float(argument))
    return await Effects()(attempt)


@asynccontextmanager
async def opened(
    _settings: Settings, _redis: Redis, _metrics: Metrics, types: TaskTypes, _overrides: Overrides
) -> AsyncIterator[Mapping[TaskType[Any], Handler[Any]]]:
    yield {one: played(one, scripted) for one in types.values()}


async def main(settings: Settings, stop: asyncio.Event) -> None:
    await serve(settings, stop, task_types(settings.smtp), opened)


if __name__ == "__main__":
    sys.exit(run_process(Process.WORKER, main))
