"""看：判断要用的一切，从 PostgreSQL 与 Redis 各看一眼。每一眼有自己的时限，一边不答不耽误另一边。

API 进程与 CLI 用的是同一个 :func:`observe`：所见一样，判断才一样。
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg_pool import PoolTimeout
from redis.asyncio import Redis
from redis.exceptions import RedisError

from kaguan.breakers.board import OpenBreaker, open_breakers
from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.flow.background import within
from kaguan.notices.task import TASK_NOTIFY
from kaguan.outbox.deliver.deliveries import build_queues
from kaguan.outbox.deliver.in_redis import waiting_depths
from kaguan.outbox.operate import backlog
from kaguan.outbox.operate.backlog import QueueBacklog
from kaguan.outbox.operate.limits import Limit, limits
from kaguan.outbox.operate.pauses import Pause, pauses
from kaguan.outbox.recover.gate import gate_is_open
from kaguan.outbox.vocabulary import Priority, PriorityRank
from kaguan.presence.census import Census, take_census
from kaguan.queues.keys import namespace_of
from kaguan.verdict import queries
from kaguan.verdict.locks import Lock, locks
from kaguan.verdict.patience import SHIPPED, Patience
from kaguan.verdict.queries import ConnectedProcess, Held, Totals
from kaguan.words.log import get_logger
from kaguan.words.units import MINUTE

log = get_logger(__name__)

PACKAGE = "kaguan.verdict"
CROWD = 200  # 行：看这么多，就知道多半是谁的
QUEUED_CAP = 500  # 看最老的这么多个，年龄就准了
FINISHED_CAP, EVENT_CAP = 1_000, 300
WINDOW, MOMENT = 300.0, 10.0  # 秒：看多久之内的结局
LASTING = "lasting"
HEADS = 200
BLOCKED = 20
BLOCKED_PATIENCE = 10.0  # 秒
LINGER = 0.5  # 秒：看账看了这么久还没看完，就去看是谁挡着

T = TypeVar("T")
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Queued:
    """一个队列里已交出、没人认领的，只数最老的 :data:`QUEUED_CAP` 个；``oldest`` 是最老的等了几秒。"""

    queue: str
    queued: int
    oldest: float


@dataclass(frozen=True, slots=True)
class Flow:
    """一种结局（任务的状态，或失败的尝试 ``attempt_failed`` 与它的 ``detail``）最近的个数。

    Attributes:
        total: 五分钟之内；``minute``、``moment`` 是一分钟、十秒之内。
        span: 其实看了多久（秒）：太快了就看不满五分钟。
    """

    type: str
    queue: str
    outcome: str
    detail: Mapping[str, Any]
    total: int
    minute: int
    moment: int
    first_at: datetime
    last_at: datetime
    span: float


@dataclass(frozen=True, slots=True)
class Ending:
    """一种任务最近最终失败、还没有重来的几个，与同一段里做成的；``first_at`` 是头一个失败的时刻。"""

    type: str
    failed: int
    succeeded: int
    first_at: datetime


def pace(flow: Iterable[Flow]) -> float:
    """照刚才，每秒有几个有了结局。"""
    done = [line for line in flow if line.outcome != "attempt_failed"]
    return sum(line.moment for line in done) / max(1.0, min(MOMENT, done[0].span)) if done else 0.0


@dataclass(frozen=True, slots=True)
class Blocked:
    """一个被队头卡住的键；``waited`` 是后一个到期之后等了几秒。"""

    head: UUID
    key: str
    status: str
    error: Mapping[str, Any]
    waited: float
    since: datetime


@dataclass(frozen=True, slots=True)
class Outside:
    """让出了名额、在等 ``whom`` 的几个（数到封顶为止），最久的等了几秒。"""

    whom: str
    count: int
    oldest: float


@dataclass(frozen=True, slots=True)
class Crowd:
    """一个队列里最先到期的 ``looked`` 行，``caller`` 交的最多，有 ``count`` 行。"""

    priority: int
    caller: str
    count: int
    looked: int

    @property
    def is_most(self) -> bool:
        return 2 * self.count > self.looked


@dataclass(frozen=True, slots=True)
class Ledger:
    """PostgreSQL 里看到的；``gate_is_open``：它自己的历史核对过。"""

    totals: Totals
    backlog: Mapping[Priority, QueueBacklog]
    queued: Mapping[str, Queued]
    held: list[Held]
    connected: list[ConnectedProcess]
    flow: list[Flow]
    blocked: list[Blocked]
    outside: list[Outside]
    gate_is_open: bool = True
    paused: Sequence[Pause] = ()
    bounded: Sequence[Limit] = ()
    crowds: Sequence[Crowd] = ()
    endings: Sequence[Ending] = ()

    def running_in(self, queue: str) -> int:
        return sum(item.held for item in self.held if item.queue == queue)

    def connections(self, role: str) -> int:
        return sum(1 for item in self.connected if role in item.roles)


@dataclass(frozen=True, slots=True)
class Broker:
    """Redis 里看到的；``depths`` 是各队列等着取的。"""

    depths: Mapping[Priority, int]
    census: Census
    breakers: list[OpenBreaker]


@dataclass(frozen=True, slots=True)
class Observation:
    """一眼；哪一边不答，哪一边就是 None。``locks``：谁挡着我们的语句。"""

    at: datetime
    ledger: Ledger | None
    broker: Broker | None
    locks: tuple[Lock, ...] = ()


async def observe(
    connect: Callable[[], AbstractAsyncContextManager[Connection]], redis: Redis, patience: Patience = SHIPPED
) -> Observation:
    """看一眼；``connect`` 给一条自动提交的连接。"""
    namespace = namespace_of(redis)
    record = asyncio.create_task(_in_time(_read_ledger(connect, namespace), patience.ledger), name="ledger")
    broker, _ = await asyncio.gather(
        _in_time(_read_broker(redis), patience.redis), asyncio.wait({record}, timeout=LINGER)
    )
    # 它自己若正等着锁，此刻就看得见挡着它的是谁
    blocking = await _in_time(_read_locks(connect, namespace), patience.ledger)
    ledger = await record
    at = datetime.now(UTC) if ledger is None else ledger.totals.now
    return Observation(at, ledger, broker, tuple(blocking or ()))


async def census_in_time(redis: Redis, seconds: float = SHIPPED.redis) -> Census | None:
    """名片；Redis 不答就是 None。"""
    return await _in_time(take_census(redis), seconds)


async def _in_time(look: Coroutine[None, None, T], seconds: float) -> T | None:
    done = await within(seconds, look)
    try:
        return None if done is None else done.result()
    except (psycopg.Error, PoolTimeout, RedisError, OSError, TimeoutError) as error:
        log.debug("没看成", error=type(error).__name__)
        return None


async def _read_ledger(connect: Callable[[], AbstractAsyncContextManager[Connection]], namespace: str) -> Ledger:
    async with connect() as connection:
        blocked = {"cap": HEADS, "patience": BLOCKED_PATIENCE, "limit": BLOCKED, "notice": TASK_NOTIFY.name}
        totals = await queries.totals(connection)
        lines = sized(await backlog.backlog(connection, queries.COUNT_CAP), totals.parked, totals.outbox_rows)
        queued = await _rows(connection, Queued, "queued", {"cap": QUEUED_CAP})
        flow, endings = await _read_flow(connection)
        return Ledger(
            totals=totals,
            backlog={PriorityRank(line.priority).queue: line for line in lines},
            queued={line.queue: line for line in queued},
            held=await queries.running(connection),
            connected=await queries.processes(connection, namespace),
            flow=flow,
            blocked=await _rows(connection, Blocked, "blocked", blocked),
            outside=await _rows(connection, Outside, "outside", {"cap": queries.COUNT_CAP}),
            gate_is_open=await gate_is_open(connection),
            paused=await pauses(connection),
            bounded=await limits(connection),
            crowds=await _rows(connection, Crowd, "crowds", {"cap": CROWD}),
            endings=endings,
        )


async def read_flow(connection: Connection) -> list[Flow]:
    return (await _read_flow(connection))[0]


async def _read_flow(connection: Connection) -> tuple[list[Flow], list[Ending]]:
    """一遍看完：各种结局，与至今还是失败的。"""
    asked = {
        "window": WINDOW,
        "minute": MINUTE,
        "moment": MOMENT,
        "finished_cap": FINISHED_CAP,
        "event_cap": EVENT_CAP,
    }
    lines = await _rows(connection, Flow, "flow", asked)
    endings = [Ending(line.type, first_at=line.first_at, **line.detail) for line in lines if line.outcome == LASTING]
    return [line for line in lines if line.outcome != LASTING], endings


async def _read_locks(connect: Callable[[], AbstractAsyncContextManager[Connection]], namespace: str) -> list[Lock]:
    async with connect() as connection:
        return await locks(connection, namespace)


def sized(lines: Sequence[QueueBacklog], parked: int, rows: int) -> list[QueueBacklog]:
    """数到头的只有一个队列时，它约有几个由总行数减去别的得出；几个都数到头就说不准。"""
    full = [line for line in lines if line.waiting >= queries.COUNT_CAP]
    if len(full) != 1:
        return list(lines)
    rest = parked + sum(line.waiting for line in lines if line is not full[0])
    guess = replace(full[0], waiting=max(full[0].waiting, rows - rest))
    return [guess if line is full[0] else line for line in lines]


async def _rows(connection: Connection, kind: type[Row], name: str, parameters: Mapping[str, object]) -> list[Row]:
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        await cursor.execute(load(PACKAGE, name), parameters)
        return await cursor.fetchall()


async def _read_broker(redis: Redis) -> Broker:
    depths = await waiting_depths(build_queues(redis))
    return Broker(depths, await take_census(redis), await open_breakers(redis))
