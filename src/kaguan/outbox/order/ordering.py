"""按键有序：同一个键的任务按受理的次序，前一个有了结局（或被搁置）才放行下一个；不同的键并行。

键上的一行（tb_ordering）是锁也是队头。等着的任务没有发件箱行，relay 因此看不见它们；
放行写下发件箱行。谁给了队头结局（结算、取消、收回租约），谁立刻放行；relay 定时兜底：谁死了都不会卡住。
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from kaguan.database.pool import Connection
from kaguan.database.sql import load

PACKAGE = "kaguan.outbox.order"


async def heads(connection: Connection, after: UUID, limit: int) -> list[UUID]:
    """``after`` 之后的一页队头。"""
    cursor = await connection.execute(load(PACKAGE, "heads"), {"after": after, "limit": limit})
    return [row[0] for row in await cursor.fetchall()]


async def release(connection: Connection, heads: Sequence[UUID]) -> int:
    """这些队头里已有结局的，放行它们的下一个；返回放行的任务数。"""
    async with connection.transaction():
        cursor = await connection.execute(load(PACKAGE, "vacate"), {"heads": list(heads)})
        vacated = await cursor.fetchall()
        if not vacated:
            return 0
        subjects = {"principals": [row[0] for row in vacated], "keys": [row[1] for row in vacated]}
        cursor = await connection.execute(load(PACKAGE, "admit"), subjects)
        row = await cursor.fetchone()
        return 0 if row is None else int(row[0])


async def waiting(connection: Connection, cap: int) -> int:
    """排在同键之后、发件箱里看不见的任务，数到 ``cap`` 为止。"""
    cursor = await connection.execute(load(PACKAGE, "waiting"), {"cap": cap})
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def expire(connection: Connection, days: int, limit: int) -> int:
    """删去 ``days`` 天没用过的一批键；返回个数。"""
    return (await connection.execute(load(PACKAGE, "expire"), {"days": days, "limit": limit})).rowcount
