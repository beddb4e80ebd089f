"""一张卡身上发生过什么：状态变更、为它做的任务。连接是参数，从不提交。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
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


async def events(connection: Connection, iccids: Sequence[str], limit: int, before: int = NEWEST) -> list[SimEvent]:
    """这些 ICCID 的状态变更，新的在前，至多 ``limit`` 次。"""
    parameters = {"iccids": list(iccids), "before": before, "limit": limit}
    async with connection.cursor(row_factory=class_row(SimEvent)) as cursor:
        return await (await cursor.execute(load(PACKAGE, "events"), parameters)).fetchall()


async def note_task(connection: Connection, sim_id: int, task_id: UUID) -> None:
    """记下为这张卡受理了一个任务；同一事务里。"""
    await connection.execute(load(PACKAGE, "note_task"), {"sim_id": sim_id, "task_id": task_id})
