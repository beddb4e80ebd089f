"""十二个故障：怎么下手、该说中哪一件、怎么收场。"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from uuid import UUID, uuid4

from uuid_utils import uuid7

from tests.drill.relay_host import DEFERRED
from tests.drill.stage import Stage, family, send_tree
from tests.support.eventually import eventually

RELAY_DEATHS = 5
BATCH, BATCHES = 1_000, 50
HANGS = 30.0  # 秒：比两边的时限都久
SLOW_MAIL = 1.0  # 秒：中继每句应答想这么久，信因此在半路上
LETTERS = 2  # 封：半路上的至少这么多，值班的人一封断定发生了，一封断定没有


@dataclass(frozen=True, slots=True)
class Fault:
    """一个故障。

    Attributes:
        causes: 说中其中任何一件就算说出了缘由。
        seconds: 维持多久；0 即下手完就收场。
        strike: 进入即下手，离开即收场。
    """

    name: str
    title: str
    causes: frozenset[str]
    seconds: float
    strike: Callable[[Stage], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def frozen_worker(stage: Stage) -> AsyncIterator[None]:
    stage.stack.send("worker", signal.SIGSTOP)
    try:
        yield
    finally:
        stage.stack.send("worker", signal.SIGCONT)


@asynccontextmanager
async def crashing_relay(stage: Stage) -> AsyncIterator[None]:
    for _ in range(RELAY_DEATHS):
        pid = stage.stack.pid("relay")
        stage.stack.send("relay", signal.SIGKILL)
        await stage.stack.replaced("relay", pid)
        await eventually(lambda: stage.is_beating("relay"))  # 没有跳过一拍就死的，另有 no_relay 去说
    yield


@asynccontextmanager
async def flushed_redis(stage: Stage) -> AsyncIterator[None]:
    await stage.flush_redis()
    yield


@asynccontextmanager
async def mail_down(stage: Stage) -> AsyncIterator[None]:
    await stage.relay.stop()
    try:
        yield
    finally:
        await stage.relay.start()


@asynccontextmanager
async def mail_hangs(stage: Stage) -> AsyncIterator[None]:
    """连得上，一个字也不回。"""
    stage.relay.server.script.delay = HANGS
    try:
        yield
    finally:
        stage.relay.server.script.delay = 0.0


@asynccontextmanager
async def carrier_hangs(stage: Stage) -> AsyncIterator[None]:
    await stage.carrier_faults(latency=HANGS)
    try:
        yield
    finally:
        await stage.carrier_faults()


@asynccontextmanager
async def carrier_down(stage: Stage) -> AsyncIterator[None]:
    await stage.carrier_faults(error_rate=1.0)
    try:
        yield
    finally:
        await stage.carrier_faults()


@asynccontextmanager
async def stopped_postgres(stage: Stage) -> AsyncIterator[None]:
    stopped = family(stage.stack.pid("postgres"))  # 后端各自成组
    send_tree(stopped, signal.SIGSTOP)
    try:
        yield
    finally:
        send_tree(stopped, signal.SIGCONT)


@asynccontextmanager
async def unknown_type(stage: Stage) -> AsyncIterator[None]:
    task_id = UUID(bytes=uuid7().bytes)
    await stage.sql(
        "with accepted as (insert into tb_task (id, type, queue, principal, payload, max_attempts) "
        "values (%s, 'sim:magic', 'default', 'drill', '{}', 3) returning id) "
        "insert into tb_outbox (task_id, delivery, type, priority, principal) "
        "select id, 1, 'sim:magic', 1, 'drill' from accepted",
        task_id,
    )
    try:
        yield
    finally:
        await stage.sql("delete from tb_outbox where task_id = %s", task_id)
        await stage.sql("delete from tb_task where id = %s", task_id)


@asynccontextmanager
async def stuck_key(stage: Stage) -> AsyncIterator[None]:
    key = f"drill-{uuid4().hex[:8]}"
    head = await stage.mail(DEFERRED, ordering_key=key)
    await stage.mail(ordering_key=key)
    try:
        yield
    finally:
        await stage.post(f"/tasks/{head}/cancel", {})


@asynccontextmanager
async def low_flood(stage: Stage) -> AsyncIterator[None]:
    mail = {"type": "email:send", "to": ["wang@example.com"], "subject": "批量", "body": "一封", "priority": "low"}
    for _ in range(BATCHES):
        await stage.post("/tasks/batch", {"tasks": [mail] * BATCH})
    try:
        yield
    finally:
        wanted = {"queue": "low", "type": "email:send", "dry_run": False}
        while (await stage.post("/tasks/cancel", wanted))["done"]:
            pass


@asynccontextmanager
async def killed_worker(stage: Stage) -> AsyncIterator[None]:
    stage.relay.server.script.delay = SLOW_MAIL
    try:
        await eventually(partial(stage.are_under_way, LETTERS))
        pid = stage.stack.pid("worker")
        stage.stack.send("worker", signal.SIGKILL)
        await stage.stack.replaced("worker", pid)
    finally:
        stage.relay.server.script.delay = 0.0
    try:
        yield
    finally:
        await stage.sql(
            "update tb_task set status = 'cancelled', finished_at = now(), intent_at = null where status = 'uncertain'"
        )


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("frozen_worker", "worker SIGSTOP", frozenset({"quiet", "stalled"}), 63, frozen_worker),
        Fault("flushed_redis", "FLUSHALL", frozenset({"redis_lost"}), 10, flushed_redis),
        Fault("mail_down", "SMTP 停", frozenset({"setbacks", "breaker", "smtp"}), 49, mail_down),
        Fault("carrier_down", "OneLink 全 500", frozenset({"setbacks", "breaker"}), 52, carrier_down),
        Fault("mail_hangs", "SMTP 不回话", frozenset({"setbacks", "breaker", "held", "smtp"}), 49, mail_hangs),
        Fault("carrier_hangs", "OneLink 不回话", frozenset({"setbacks", "breaker", "held"}), 52, carrier_hangs),
        Fault("stopped_postgres", "PostgreSQL SIGSTOP", frozenset({"database"}), 23, stopped_postgres),
        Fault("unknown_type", "不认得的类型", frozenset({"unknown_type"}), 10, unknown_type),
        Fault("stuck_key", "有序键卡住", frozenset({"ordering"}), 30, stuck_key),
        Fault("low_flood", "五万低优先级", frozenset({"backlog"}), 40, low_flood),
        Fault("killed_worker", "信在半路时 worker SIGKILL", frozenset({"restarts", "uncertain"}), 25, killed_worker),
        Fault("crashing_relay", "relay 连死五次", frozenset({"restarts"}), 20, crashing_relay),
    )
}
