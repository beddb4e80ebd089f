"""战役的 worker：真实的组合根，只把 sim:status_sync 换成记账的处理器，并换上会跳的钟。

``--mutation 名字+名字`` 弄坏它，作对照。
"""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, LiteralString

from tests.chaos import clock

clock.install()

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from redis.asyncio import Redis

from kaguan.config import Process, Settings
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.task_type import TaskType, TaskTypes
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.overrides import Overrides
from kaguan.outbox.work.verification import NotHappened, Verified
from kaguan.product.process import run_process
from kaguan.sims.tasks import SIM_CHANGE, SIM_STATUS_SYNC
from tests.chaos.ledger import MIXED, LedgerHandler
from tests.chaos.mutated import change_statements, types_of
from workers.__main__ import OpenHandlers, serve
from workers.registry import open_handlers

UNFENCED: LiteralString = "select 1 from tb_task where id = %(task_id)s for no key update"
SETTLED_BY_ANYONE: LiteralString = """
with held as materialized (
    select t.id, d.delivery, d.claim_id, d.result
    from tb_task t
    join unnest(%(task_ids)s::uuid[], %(deliveries)s::int[], %(claim_ids)s::uuid[], %(results)s::jsonb[])
        as d (task_id, delivery, claim_id, result)
        on t.id = d.task_id
    order by t.id
    for no key update of t
),
dropped as (
    delete from tb_work w using held where w.task_id = held.id
)
update tb_task t
set status = 'succeeded', result = held.result, attempt = greatest(t.attempt, 1), finished_at = clock_timestamp(),
    intent_at = null
from held
where t.id = held.id
returning held.id, held.delivery, held.claim_id, t.status, extract(epoch from clock_timestamp() - t.created_at)::float8
"""


def without_fence(name: str, text: LiteralString) -> LiteralString:
    """对照：令牌不再检查，僵尸写得进来；结算答它的也是它自己的令牌，否则一比就回滚了。"""
    return {"fence": UNFENCED, "settle_done": SETTLED_BY_ANYONE}.get(name, text)


def without_intent(name: str, text: LiteralString) -> LiteralString:
    """对照：寄信之前不记意向，死在中间就会悄悄重寄。"""
    if name != "declare_intent":
        return text
    noted = "set intent_at = clock_timestamp()"
    if noted not in text:
        raise LookupError(f"对照要改的片段已不在语句里：{noted}")
    return text.replace(noted, "set intent_at = null")


MUTATIONS = {"no_fence": without_fence, "no_intent": without_intent}


def mutate(name: str) -> None:
    """弄坏本进程。令牌与意向在语句里，产品没有不要它们的开关：只能换掉取语句的函数。"""
    if name in MUTATIONS:
        change_statements(MUTATIONS[name])


async def never_asked(_: Attempt) -> NotHappened:
    """对照：没有回音的，不问就当作没做过。"""
    return NotHappened()


def handlers_with_ledger(*, effect_first: bool, asks: bool = True) -> OpenHandlers:
    """真实的处理器，只有查卡状态的换成账本；``asks`` 为假，改卡的不去问。"""
    ledger = LedgerHandler(effect_first, os.environ.get("CHAOS_LEDGER", MIXED))

    @asynccontextmanager
    async def opened(
        settings: Settings, redis: Redis, metrics: Metrics, types: TaskTypes, overrides: Overrides
    ) -> AsyncIterator[Mapping[TaskType[Any], Handler[Any]]]:
        async with open_handlers(settings, redis, metrics, types, overrides) as handlers:
            by_name = {one.name: (one, handler) for one, handler in handlers.items()}
            changed, changing = by_name[SIM_CHANGE.name]
            if not asks and isinstance(changing, Verified):
                by_name[SIM_CHANGE.name] = (changed, Verified(changing.handler, never_asked, resend=False))
            by_name[SIM_STATUS_SYNC.name] = (by_name[SIM_STATUS_SYNC.name][0], ledger)
            yield dict(by_name.values())

    return opened


def handlers_of(mutations: Sequence[str]) -> OpenHandlers:
    return handlers_with_ledger(effect_first="effect_first" in mutations, asks="no_change_verify" not in mutations)


async def main(settings: Settings, stop: asyncio.Event, mutations: Sequence[str]) -> None:
    types = types_of(settings, mutations)
    await serve(settings, stop, types, handlers_of(mutations))


if __name__ == "__main__":
    wanted = sys.argv[2].split("+") if sys.argv[1:2] == ["--mutation"] else []
    for mutation in wanted:
        mutate(mutation)
    sys.exit(run_process(Process.WORKER, partial(main, mutations=wanted)))
