"""按键有序：同一个键的任务按受理的次序，前一个有了结局（或被搁置）才放行下一个；不同的键并行。

键上的一行（tb_ordering）是锁也是队头。等着的任务没有发件箱行，relay 因此看不见它们；
放行写下发件箱行。谁给了队头结局（结算、取消、收回租约），谁立刻放行；relay 定时兜底：谁死了都不会卡住。
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from kaguan.database.sql import load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from kaguan.database.pool import Connection
    from kaguan.outbox.record import TaskRecord

PACKAGE = "kaguan.outbox"
PLACE_CAP = 1_000  # 前面有几个，数到这里为止
BEHIND_SHOWN = 10


async def accept(connection: Connection, rows: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> set[UUID]:
    """受理一批带 ``ordering_key`` 的任务，须在事务里；返回真正插入的任务号。

    锁与插入分作两条语句：后一条的快照才看得见锁等到的那次提交。
    """
    subjects = {
        "principals": [row["principal"] for row in rows],
        "keys": [row["ordering_key"] for row in rows],
    }
    await connection.execute(load(PACKAGE, "ordering_lock"), subjects)
    cursor = await connection.execute(load(PACKAGE, "ordering_accept"), parameters)
    accepted = {row[0] for row in await cursor.fetchall()}
    await connection.execute(load(PACKAGE, "ordering_admit"), subjects)
    return accepted


async def heads(connection: Connection, after: UUID, limit: int) -> list[UUID]:
    """``after`` 之后的一页队头。"""
    cursor = await connection.execute(load(PACKAGE, "ordering_heads"), {"after": after, "limit": limit})
    return [row[0] for row in await cursor.fetchall()]


async def release(connection: Connection, heads: Sequence[UUID]) -> int:
    """这些队头里已有结局的，放行它们的下一个；返回放行的任务数。"""
    async with connection.transaction():
        cursor = await connection.execute(load(PACKAGE, "ordering_vacate"), {"heads": list(heads)})
        vacated = await cursor.fetchall()
        if not vacated:
            return 0
        subjects = {"principals": [row[0] for row in vacated], "keys": [row[1] for row in vacated]}
        cursor = await connection.execute(load(PACKAGE, "ordering_admit"), subjects)
        row = await cursor.fetchone()
        return 0 if row is None else int(row[0])


async def waiting(connection: Connection, cap: int) -> int:
    """排在同键之后、发件箱里看不见的任务，数到 ``cap`` 为止。"""
    cursor = await connection.execute(load(PACKAGE, "ordering_waiting"), {"cap": cap})
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


@dataclass(frozen=True, slots=True)
class Head:
    """一个键正放行的任务：在它有结局之前，同键的都等着。"""

    task_id: UUID
    type: str
    status: str
    attempts: int
    max_attempts: int
    available_at: datetime
    started_at: datetime | None
    error: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Place:
    """没结束的任务在它的键上。

    ``position`` 从 1 数起，1 是队头，数到 ``PLACE_CAP`` 为止；人工重来的不在队里，没有位置。
    ``blocked_by`` 是它等着的队头；``behind`` 是排在它后面的前几个，``more_behind`` 即不止这些。
    """

    position: int | None
    blocked_by: Head | None
    behind: list[UUID]
    more_behind: bool


async def place_of(connection: Connection, task: TaskRecord) -> Place | None:
    """任务在它的键上；没有键、已结束的没有。"""
    if task.ordering_key is None or task.finished_at is not None:
        return None
    async with connection.cursor(row_factory=dict_row) as cursor:
        parameters = {"task_id": task.id, "cap": PLACE_CAP, "shown": BEHIND_SHOWN + 1}
        await cursor.execute(load(PACKAGE, "ordering_place"), parameters)
        row = await cursor.fetchone()
    if row is None:
        return None
    behind, more = row["behind"][:BEHIND_SHOWN], len(row["behind"]) > BEHIND_SHOWN
    if row["leading"]:
        return Place(1, None, behind, more)
    if not row["waiting"]:
        return Place(None, None, [], more_behind=False)
    head = _head(row)
    return Place(min(PLACE_CAP, row["ahead"] + (1 if head is None else 2)), head, behind, more)


def _head(row: Mapping[str, Any]) -> Head | None:
    """队头已有结局就没有：正要放行下一个。"""
    if row["head_id"] is None:
        return None
    return Head(
        row["head_id"], row["head_type"], row["head_status"], row["head_attempts"], row["head_max_attempts"],
        row["head_available_at"], row["head_started_at"], row["head_error"],
    )  # fmt: skip


async def expire(connection: Connection, days: int, limit: int) -> int:
    """删去 ``days`` 天没用过的一批键；返回个数。"""
    return (await connection.execute(load(PACKAGE, "ordering_expire"), {"days": days, "limit": limit})).rowcount
