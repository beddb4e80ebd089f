"""重投、积压、保留期的 SQL；取件的在 :mod:`kaguan.outbox.deliver.deliveries`。"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.outbox.deliver.in_redis import Handed
from kaguan.outbox.vocabulary import SUSPECT
from kaguan.words.reasons import Reason

PACKAGE = "kaguan.outbox.recover"
EVER = 1e9  # 秒：多久以前的都看


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
    """租约已失的；``started_at`` 是丢下的那次尝试何时开始。"""

    released: bool
    started_at: datetime


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
    connection: Connection, lost: Sequence[tuple[UUID, int]], cause: str, *, while_closed: bool = False
) -> int:
    """把 (任务号, 投递号) 重投；返回真正动了的个数。历史没有核对完就一个不动，``while_closed`` 的是核对自己。"""
    pairs = {"task_ids": [item[0] for item in lost], "deliveries": [item[1] for item in lost]}
    cursor = await connection.execute(load(PACKAGE, "redrive"), {**pairs, "cause": cause, "while_closed": while_closed})
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
        "redelivered": Jsonb(dict(redelivered)),
        "max_lost": max_lost,
        "grace": grace,
        "looked": looked,
        "reach": reach,
        "limit": limit,
        "suspect": SUSPECT,
        "killer": Jsonb(Reason("outbox.worker_killer").stored()),
        "lost": Jsonb(Reason("outbox.worker_lost").stored()),
    }
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
    page = {"after": after, "age": age, "limit": limit}

    async def look() -> tuple[UUID | None, list[UUID]]:
        cursor = await connection.execute(load(PACKAGE, "orphan_page"), page)
        return await cursor.fetchone() or (None, [])

    last, task_ids = await look()
    if not task_ids:  # 几乎总是：不必开事务
        return last, []
    async with connection.transaction():
        last, task_ids = await look()
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
