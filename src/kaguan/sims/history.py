"""一张卡身上发生过什么：状态变更、任务；与几张卡一段日子的用量合计。连接是参数，从不提交。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from kaguan.database.paging import BIGINT_MAX
from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.sims.vocabulary import PACKAGE

NEWEST = BIGINT_MAX


@dataclass(frozen=True, slots=True)
class SimEvent:
    """一次状态变更；``iccid`` 是当时的。"""

    id: int
    iccid: str
    at: datetime
    old_state: str
    new_state: str
    carrier_status: str | None
    source: str
    task_id: UUID | None


@dataclass(frozen=True, slots=True)
class CardTask:
    """与一张卡有关的一个任务。"""

    id: UUID
    type: str
    status: str
    created_at: datetime
    finished_at: datetime | None
    last_error: dict[str, Any] | None


async def events(connection: Connection, iccids: Sequence[str], limit: int, before: int = NEWEST) -> list[SimEvent]:
    """这些 ICCID 的状态变更，新的在前，至多 ``limit`` 次。"""
    parameters = {"iccids": list(iccids), "before": before, "limit": limit}
    async with connection.cursor(row_factory=class_row(SimEvent)) as cursor:
        return await (await cursor.execute(load(PACKAGE, "events"), parameters)).fetchall()


async def tasks(connection: Connection, sim_id: int, iccids: Sequence[str], limit: int) -> list[CardTask]:
    """与这张卡有关的任务，新的在前，至多 ``limit`` 个。"""
    parameters = {"sim_id": sim_id, "iccids": list(iccids), "limit": limit}
    async with connection.cursor(row_factory=class_row(CardTask)) as cursor:
        return await (await cursor.execute(load(PACKAGE, "tasks"), parameters)).fetchall()


async def noted(connection: Connection, ids: Sequence[int], limit: int) -> tuple[list[str], list[UUID]]:
    """这几张卡的 ICCID，与只为它们做的任务，新的在前，至多 ``limit`` 个。"""
    row = await (await connection.execute(load(PACKAGE, "noted"), {"ids": list(ids), "limit": limit})).fetchone()
    return ([], []) if row is None else (row[0], row[1])


async def live_id(connection: Connection, iccid: str) -> int | None:
    """在库的卡的 id。"""
    row = await (await connection.execute(load(PACKAGE, "live_id"), {"iccid": iccid})).fetchone()
    return None if row is None else row[0]


async def note_task(connection: Connection, sim_id: int, task_id: UUID) -> None:
    """记下为这张卡受理了一个任务；同一事务里。"""
    await connection.execute(load(PACKAGE, "note_task"), {"sim_id": sim_id, "task_id": task_id})


async def usage_totals(
    connection: Connection, iccids: Sequence[str], since: date, until: date
) -> dict[str, tuple[int, int]]:
    """每张卡从 ``since`` 到 ``until``（含两端）的字节与条数。"""
    parameters = {"iccids": list(iccids), "since": since, "until": until}
    cursor = await connection.execute(load(PACKAGE, "usage_totals"), parameters)
    return {iccid: (data, count) async for iccid, data, count in cursor}
