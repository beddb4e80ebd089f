"""重投、积压、保留期的 SQL；取件的在 :mod:`kaguan.outbox.deliveries`。"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from uuid import UUID

from psycopg.rows import class_row
from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb

from kaguan.database.sql import load
from kaguan.outbox.vocabulary import SUSPECT
from kaguan.queues.keys import delivery_key
from kaguan.words.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kaguan.database.pool import Connection
    from kaguan.outbox.vocabulary import Priority

PACKAGE = "kaguan.outbox"
START = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))  # 从头看起
EVER = 1e9  # 秒：多久以前的都看

Caller: TypeAlias = tuple[int, str]  # 队列，提交者


class Due(NamedTuple):
    """一行到期的待交付。``principal`` 是提交者，``waited`` 是到期以来的秒数，``now`` 是库的钟（纪元秒）。"""

    task_id: UUID
    delivery: int
    type: str
    priority: int
    principal: str
    traceparent: str | None
    available_at: datetime
    waited: float
    now: float
    alone: bool
    request_id: str | None = None

    @property
    def caller(self) -> Caller:
        return self.priority, self.principal

    @property
    def place(self) -> tuple[datetime, UUID]:
        return self.available_at, self.task_id


@dataclass(frozen=True, slots=True)
class Delivery:
    """一次投递：同队列、同类型的一个或几个任务（任务号，投递号）；``request_ids`` 与它们一一对应。

    ``job`` 是几个同乘的 SAQ 键，要记在任务上；单个的由任务号与投递号算得出，不记。
    """

    queue: Priority
    type: str
    tokens: Sequence[tuple[UUID, int]]
    request_ids: Sequence[str | None] = ()
    job: str | None = None

    @property
    def key(self) -> str:
        """SAQ 的键。"""
        return self.job or delivery_key(*self.tokens[0])


@dataclass(frozen=True, slots=True)
class Handed:
    """一个已交出、还没有被认领的任务。``job`` 是与别的任务同乘时的 SAQ 键。"""

    id: UUID
    delivery: int
    job: str | None
    queue: str
    queued_at: datetime
    traceparent: str | None
    request_id: str | None
    overdue: bool
    age: float


@dataclass(frozen=True, slots=True)
class Judged:
    """一个任务与对它的裁决。"""

    id: UUID
    type: str
    queue: str
    traceparent: str | None
    request_id: str | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Expired(Judged):
    """租约已失的。"""

    released: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """看已交出的任务的一页：交出超过 ``age`` 秒的，超过 ``backstop`` 秒的算逾期。

    从 ``after``（交出时间与任务号）往后，交出不超过 ``reach`` 秒的，至多 ``limit`` 个。
    """

    age: float
    backstop: float
    after: tuple[datetime, UUID]
    limit: int
    reach: float = EVER


async def handed(connection: Connection, seen: Seen) -> list[Handed]:
    parameters = {
        "age": seen.age,
        "backstop": seen.backstop,
        "after_at": seen.after[0],
        "after_id": seen.after[1],
        "reach": seen.reach,
        "limit": seen.limit,
    }
    async with connection.cursor(row_factory=class_row(Handed)) as cursor:
        await cursor.execute(load(PACKAGE, "handed"), parameters)
        return await cursor.fetchall()


async def redrive(
    connection: Connection, lost: Sequence[tuple[UUID, int]], cause: str, *, settling: bool = False
) -> int:
    """把 (任务号, 投递号) 重投；返回真正动了的个数。历史没有核对完就一个不动，``settling`` 的是核对自己。"""
    pairs = {"task_ids": [item[0] for item in lost], "deliveries": [item[1] for item in lost]}
    cursor = await connection.execute(load(PACKAGE, "redrive"), {**pairs, "cause": cause, "settling": settling})
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def redrive_expired(
    connection: Connection,
    *,
    redelivered: Mapping[str, str],
    max_lost: int,
    grace: float,
    looked: datetime | None,
    reach: float,
    limit: int,
) -> tuple[datetime, list[Expired]]:
    """收回租约失去不超过 ``reach`` 秒的，与主动交还的；PostgreSQL 启动之后的 ``grace`` 秒内只收回后者。

    离上一眼（``looked``，PostgreSQL 的钟；None 是不论）超过 ``grace`` 秒，也只收回后者。

    Returns:
        这一眼的时刻，与收回的。
    """
    parameters = {
        "redelivered": Jsonb(dict(redelivered)), "max_lost": max_lost, "grace": grace, "looked": looked, "reach": reach,
        "limit": limit, "suspect": SUSPECT,
        "killer": Jsonb(Reason("outbox.worker_killer").stored()), "lost": Jsonb(Reason("outbox.worker_lost").stored()),
    }  # fmt: skip
    cursor = await connection.execute(load(PACKAGE, "redrive_expired"), parameters)
    rows = await cursor.fetchall()
    return rows[0][-1], [Expired(*row[:-1]) for row in rows if row[0] is not None]


async def redrive_orphans(
    connection: Connection, *, after: UUID, age: float, limit: int
) -> tuple[UUID | None, list[tuple[UUID, str | None, str | None]]]:
    """看一页等待中的任务，补上缺了发件箱行的。

    Returns:
        下一页的起点（看到头了是 None）与补上的 (任务号, traceparent, request_id)。
    """
    async with connection.transaction():
        cursor = await connection.execute(load(PACKAGE, "orphan_page"), {"after": after, "age": age, "limit": limit})
        last, task_ids = await cursor.fetchone() or (None, [])
        if not task_ids:
            return last, []
        cursor = await connection.execute(load(PACKAGE, "orphans"), {"task_ids": task_ids})
        return last, await cursor.fetchall()


async def lost_epoch(connection: Connection, before: datetime, limit: int) -> list[tuple[UUID, int]]:
    """``before`` 之前交出、至今没有被认领的一批：人要求重投时用。"""
    cursor = await connection.execute(load(PACKAGE, "lost_epoch"), {"before": before, "limit": limit})
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def last_handed(connection: Connection) -> datetime | None:
    """此刻最后一个交出而没有被认领的是何时交出的；没有则 None。"""
    cursor = await connection.execute(load(PACKAGE, "last_handed"))
    row = await cursor.fetchone()
    return None if row is None else row[0]


@dataclass(frozen=True, slots=True)
class QueueBacklog:
    """一个队列的待交付概况；``waiting`` 到 cap 为止。"""

    priority: int
    waiting: int
    oldest_due_seconds: float | None


async def backlog(connection: Connection, cap: int) -> list[QueueBacklog]:
    async with connection.cursor(row_factory=class_row(QueueBacklog)) as cursor:
        await cursor.execute(load(PACKAGE, "status"), {"cap": cap})
        return await cursor.fetchall()


async def parked(connection: Connection, cap: int) -> int:
    cursor = await connection.execute(load(PACKAGE, "parked"), {"cap": cap})
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


@dataclass(frozen=True, slots=True)
class Waiting:
    """在等外面恢复的：几个（到 cap 为止），最久的等了几秒。"""

    waiting: int
    oldest: float | None


async def waiting(connection: Connection, waiting_for: str, cap: int) -> Waiting:
    async with connection.cursor(row_factory=class_row(Waiting)) as cursor:
        await cursor.execute(load(PACKAGE, "waiting"), {"waiting_for": waiting_for, "cap": cap})
        return await cursor.fetchone() or Waiting(0, None)


async def recall(connection: Connection, waiting_for: str, *, room: int, near: float, spread: float) -> int:
    """把在等 ``waiting_for`` 的最先 ``room`` 行里，还要等 ``near`` 秒以上的提前到 ``spread`` 秒之内；返回几个。"""
    parameters = {"waiting_for": waiting_for, "room": room, "near": near, "spread": spread}
    return (await connection.execute(load(PACKAGE, "recall"), parameters)).rowcount


async def places(connection: Connection, named: Sequence[str], cap: int) -> dict[str, Waiting]:
    """各名额有几个在等。"""
    cursor = await connection.execute(load(PACKAGE, "places"), {"places": list(named), "cap": cap})
    return {place: Waiting(waiting, oldest) for place, waiting, oldest in await cursor.fetchall()}


async def call_in(
    connection: Connection, rooms: Mapping[str, int], weights: Sequence[int], near: float
) -> list[tuple[str, int]]:
    """有了名额（``rooms``，名额 → 几个），把在等的叫回来；返回叫到的各（名额，队列）。``weights`` 是几个队列怎么分。"""
    parameters = {"places": list(rooms), "rooms": list(rooms.values()), "weights": list(weights), "near": near}
    return await (await connection.execute(load(PACKAGE, "call_in"), parameters)).fetchall()


async def expire_tasks(
    connection: Connection, days: int, limit: int, rows: Sequence[str], since: datetime
) -> tuple[int, datetime]:
    """删去结束超过 ``days`` 天的一批任务，从 ``since`` 结束的看起，连同 ``rows`` 各表里它们的附属行。

    Returns:
        任务数，与它们最后一个是何时结束的（一个也没有就是 ``since``）。
    """
    async with connection.transaction():
        parameters = {"days": days, "limit": limit, "since": since}
        cursor = await connection.execute(load(PACKAGE, "expire_tasks"), parameters)
        found = await cursor.fetchall()
        gone = [row[0] for row in found]
        if gone:
            for table in rows:
                statement = SQL("delete from {} where task_id = any(%s)").format(Identifier(table))
                await connection.execute(statement, (gone,))
    return len(gone), max((row[1] for row in found), default=since)
