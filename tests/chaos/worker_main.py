"""战役的 worker：真实的组合根，只把 sim:status_sync 换成记账的处理器。``--mutation 名字`` 弄坏它，作对照。"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, LiteralString

import workers.__main__ as worker
import workers.attempt as attempt_module
from kaguan.database.sql import load
from kaguan.inbox import store
from kaguan.process import run_process
from kaguan.tasks.model import TaskType
from tests.chaos.ledger import LedgerHandler
from workers.handlers import open_handlers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from redis.asyncio import Redis

    from kaguan.config import Settings
    from kaguan.telemetry.metrics import Metrics
    from workers.attempt import Handler

GUARD = "and delivery = %(delivery)s and status = 'running'"
SETTLED_GUARD = "and delivery = %(delivery)s and attempt = %(attempt)s and status = 'running'"


def without_fence(package: str, name: str) -> LiteralString:
    """对照：令牌不再检查，僵尸写得进来。"""
    text = load(package, name)
    if name == "fence":
        return _removed(text, GUARD)
    return _removed(text, SETTLED_GUARD) if name == "settle_done" else text


def without_intent(package: str, name: str) -> LiteralString:
    """对照：寄信之前不记意向，死在中间就会悄悄重寄。"""
    text = load(package, name)
    return _removed(text, "set intent_at = clock_timestamp()", "set intent_at = null") if _declares(name) else text


def _declares(name: str) -> bool:
    return name == "declare_intent"


def _removed(text: LiteralString, part: LiteralString, instead: LiteralString = "") -> LiteralString:
    if part not in text:
        raise LookupError(f"对照要改的片段已不在语句里：{part}")
    return text.replace(part, instead)


MUTATIONS = {"no_fence": without_fence, "no_intent": without_intent}


def mutate(name: str) -> None:
    """弄坏本进程。"""
    if name in MUTATIONS:
        vars(store)["load"] = MUTATIONS[name]
        vars(attempt_module)["load"] = MUTATIONS[name]


def with_ledger(*, effect_first: bool) -> None:
    @asynccontextmanager
    async def opened(settings: Settings, redis: Redis, metrics: Metrics) -> AsyncIterator[Mapping[TaskType, Handler]]:
        async with open_handlers(settings, redis, metrics) as handlers:
            yield {**handlers, TaskType.SIM_STATUS_SYNC: LedgerHandler(effect_first)}

    vars(worker)["open_handlers"] = opened  # 唯一的替换：真实处理器之外加上账本


if __name__ == "__main__":
    mutation = sys.argv[2] if sys.argv[1:2] == ["--mutation"] else ""
    mutate(mutation)
    with_ledger(effect_first=mutation == "effect_first")
    sys.exit(run_process("worker", worker.main))
