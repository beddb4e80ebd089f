"""做变更的一头用的 SQL：回执记着去做过没有、运营商怎么说；与过期。连接是参数，从不提交。"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.sims.vocabulary import PACKAGE


@dataclass(frozen=True, slots=True)
class Begun:
    """一个变更任务此刻的回执。

    Attributes:
        reference: 给运营商的流水号；还没有去要过的没有，``called_at`` 也没有。
        answered_at: 运营商说收下了的时刻。
        now: PostgreSQL 的钟。
        state: 卡此刻的状态，照我们所知。
        previous: 这张卡上一次变更的证据在运营商那里的时刻。
    """

    reference: str | None
    called_at: datetime | None
    answered_at: datetime | None
    order_number: str | None
    now: datetime
    state: str
    previous: datetime | None


async def begin(connection: Connection, task_id: UUID) -> Begun:
    """读回执。

    Raises:
        LookupError: 没有这张回执：任务不是从 :mod:`kaguan.sims.changes` 受理的。
    """
    async with connection.cursor(row_factory=class_row(Begun)) as cursor:
        await cursor.execute(load(PACKAGE, "change_begin"), {"task_id": task_id})
        found = await cursor.fetchone()
    if found is None:
        raise LookupError(f"{task_id} has no receipt / 没有回执")
    return found


async def called(connection: Connection, task_id: UUID, reference: str) -> None:
    """记下这就去要运营商改。"""
    await connection.execute(load(PACKAGE, "change_called"), {"task_id": task_id, "reference": reference})


async def answered(
    connection: Connection, task_id: UUID, order_number: str | None, evidence: dict[str, Any] | None = None
) -> None:
    """记下运营商收下了；做完了的，连同凭据。"""
    parameters = {
        "task_id": task_id,
        "order_number": order_number,
        "evidence": None if evidence is None else Jsonb(evidence),
    }
    await connection.execute(load(PACKAGE, "change_answered"), parameters)


async def set_plan(connection: Connection, iccid: str, plan: str) -> None:
    await connection.execute(load(PACKAGE, "change_plan"), {"iccid": iccid, "plan": plan})


async def expire(connection: Connection, limit: int, days: int) -> int:
    """删去 ``days`` 天前要求的一批变更，连同回执；返回几张回执。"""
    cursor = await connection.execute(load(PACKAGE, "changes_expire"), {"days": days, "limit": limit})
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])
