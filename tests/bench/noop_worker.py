"""什么也不做（或只等 ``BENCH_WAIT`` 秒）的处理器，其余与 worker 进程相同：真的取件、认领、结算、续租、日志、指标。"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from kaguan.config import Process, Settings
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.task_type import TaskType, TaskTypes
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.outcome import Done, Outcome
from kaguan.outbox.work.overrides import Overrides
from kaguan.product.process import run_process
from kaguan.product.task_types import task_types
from tests.support.played import played
from workers.__main__ import serve

WAIT = float(os.environ.get("BENCH_WAIT", "0"))


async def noop(attempt: Attempt) -> Outcome:
    attempt.call_nobody()
    if WAIT:
        await asyncio.sleep(WAIT)
    return Done()


@asynccontextmanager
async def opened(
    _settings: Settings, _redis: Redis, _metrics: Metrics, types: TaskTypes, _overrides: Overrides
) -> AsyncIterator[Mapping[TaskType[Any], Handler[Any]]]:
    yield {one: played(one, noop) for one in types.values()}


async def main(settings: Settings, stop: asyncio.Event) -> None:
    # 空处理器谁也不等：名额是给真的处理器的
    types = TaskTypes(replace(one, limit=None, resources={}) for one in task_types(settings.smtp).values())
    await serve(settings, stop, types, opened)


if __name__ == "__main__":
    sys.exit(run_process(Process.WORKER, main))
