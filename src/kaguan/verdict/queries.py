"""控制台要看的：每条查询都有上限，任务再多也不慢。"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import class_row, dict_row

from kaguan.database.connecting import TOGETHER
from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.outbox.vocabulary import TaskEventKind, TaskStatus
from kaguan.words.units import DAY

PACKAGE = "kaguan.verdict"
COUNT_CAP = 10_000  # 数到这里为止，界面写「≥」
VANISHED_FOR, WIPED_FOR = DAY, 300.0  # 秒；还要说多久
FAULT_SCAN = 500
DEAD_CAP = 2_000
DEAD_GROUPS = 30
TYPES_CAP = 200
FAULTS = (
    TaskEventKind.ATTEMPT_FAILED,
    TaskEventKind.REDRIVEN,
    TaskEventKind.FENCED,
    TaskEventKind.UNCERTAIN,
    TaskEventKind.PARKED,
    TaskEventKind.RESEND,
    TaskEventKind.TO_VERIFY,
)


@dataclass(frozen=True, slots=True)
class Held:
    """一个 worker 在一个队列里持有的租约。"""

    worker: str
    queue: str
    held: int
    oldest_started_at: datetime
    newest_started_at: datetime
    lease_until: datetime
    expired: int


@dataclass(frozen=True, slots=True)
class Fault:
    """同一种任务、同一个原因的例外；``task_id``、``detail`` 是最近的一个，``type`` 为空即任务已过保留期。"""

    kind: str
    type: str | None
    count: int
    first_at: datetime
    last_at: datetime
    task_id: UUID
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Totals:
    """未结算与要人看的任务数，数到 :data:`COUNT_CAP`，不明的、搁置的、不见了的最早从何时起。

    Attributes:
        vanished: 最近 :data:`VANISHED_FOR` 秒发现不见了的。
        outbox_rows: 发件箱约有几行，照统计。
        wiped_at: 最近 :data:`WIPED_FOR` 秒之内，Redis 丢过数据的时刻。
        now: PostgreSQL 的钟。
    """

    queued: int
    running: int
    failed: int
    uncertain: int
    uncertain_since: datetime | None
    parked: int
    parked_since: datetime | None
    vanished: int
    vanished_since: datetime | None
    outbox_rows: int
    wiped_at: datetime | None
    last_forward_at: datetime | None
    now: datetime


@dataclass(frozen=True, slots=True)
class ConnectedProcess:
    """一种进程在一个地址上的数据库连接；``quiet_seconds`` 是最近一次动静到现在。"""

    process: str
    address: str
    connections: int
    active: int
    since: datetime
    quiet_seconds: float

    @property
    def roles(self) -> list[str]:
        """别的应用的一个进程常是 relay 又是 worker。"""
        return self.process.split(TOGETHER)


@dataclass(frozen=True, slots=True)
class TrendBucket:
    """一段时间里的个数。"""

    at: datetime
    accepted: int
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class DeadGroup:
    """同一类型、同一原因的死信；``reason`` 是重放的条件，``error`` 与 ``example`` 是其中最新的一个。"""

    type: str
    reason: str
    error: dict[str, Any] | None
    count: int
    latest_at: datetime
    example: UUID


async def types(connection: Connection) -> list[str]:
    """库里有哪几种任务，按名字；至多 :data:`TYPES_CAP` 种。"""
    cursor = await connection.execute(load(PACKAGE, "types"), {"cap": TYPES_CAP})
    return [name for (name,) in await cursor.fetchall()]


async def running(connection: Connection) -> list[Held]:
    async with connection.cursor(row_factory=class_row(Held)) as cursor:
        await cursor.execute(load(PACKAGE, "running"), {"cap": COUNT_CAP})
        return await cursor.fetchall()


async def faults(connection: Connection, limit: int) -> list[Fault]:
    parameters = {"scan": FAULT_SCAN, "kinds": list(FAULTS), "limit": limit}
    async with connection.cursor(row_factory=class_row(Fault)) as cursor:
        await cursor.execute(load(PACKAGE, "faults"), parameters)
        return await cursor.fetchall()


async def totals(connection: Connection) -> Totals:
    async with connection.cursor(row_factory=class_row(Totals)) as cursor:
        await cursor.execute(
            load(PACKAGE, "totals"), {"cap": COUNT_CAP, "vanished_for": VANISHED_FOR, "wiped_for": WIPED_FOR}
        )
        found = await cursor.fetchone()
    if found is None:
        raise LookupError("汇总没有返回行")
    return found


async def processes(connection: Connection, namespace: str) -> list[ConnectedProcess]:
    async with connection.cursor(row_factory=class_row(ConnectedProcess)) as cursor:
        await cursor.execute(load(PACKAGE, "connections"), {"namespace": namespace})
        return await cursor.fetchall()


async def broker(connection: Connection) -> dict[str, Any] | None:
    """队列的纪元与它从何时起。"""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(load(PACKAGE, "broker"))
        return await cursor.fetchone()


async def trend(connection: Connection, step: float, buckets: int, cap: int) -> list[TrendBucket]:
    """最近 ``buckets`` 段、每段 ``step`` 秒，都已结束；每段数到 ``cap`` 为止。"""
    async with connection.cursor(row_factory=class_row(TrendBucket)) as cursor:
        await cursor.execute(load(PACKAGE, "trend"), {"step": step, "buckets": buckets, "cap": cap})
        return await cursor.fetchall()


async def dead_groups(connection: Connection, status: TaskStatus) -> list[DeadGroup]:
    parameters = {"status": status, "cap": DEAD_CAP, "limit": DEAD_GROUPS}
    async with connection.cursor(row_factory=class_row(DeadGroup)) as cursor:
        # 不用预备语句：部分索引要看得见 status 的值
        await cursor.execute(load(PACKAGE, "dead_groups"), parameters, prepare=False)
        return await cursor.fetchall()


async def parked_rows(connection: Connection, limit: int) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(load(PACKAGE, "parked_rows"), {"limit": limit})
        return await cursor.fetchall()
