"""认领与结算的 SQL。每条都以投递号为隔离令牌。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from kaguan.database.sql import load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from kaguan.database.pool import Connection

PACKAGE = "kaguan.outbox.worker"


@dataclass(frozen=True, slots=True)
class Claim:
    """认领到的任务。``queued_for`` 自交出，单位秒。"""

    id: UUID
    delivery: int
    type: str
    queue: str
    attempt: int
    max_attempts: int
    payload: dict[str, Any]
    request_id: str | None
    intended: bool
    traceparent: str | None
    ordered: bool
    queued_for: float


async def claim(
    connection: Connection, wanted: Sequence[tuple[UUID, int]], *, worker: str, lease: float
) -> list[Claim | None]:
    """认领一批投递，次序与输入相同；None = 别人有它，或已做完。"""
    async with connection.cursor(row_factory=class_row(Claim)) as cursor:
        await cursor.execute(load(PACKAGE, "claim"), {**_pairs(wanted), "worker": worker, "lease": lease})
        claimed = {(row.id, row.delivery): row for row in await cursor.fetchall()}
    return [claimed.get(one) for one in wanted]


async def heartbeat(
    connection: Connection, held: Sequence[tuple[UUID, int]], worker: str, lease: float
) -> dict[tuple[UUID, int], bool]:
    """续租；返回仍归自己的（别人锁着、因此没续上的也算）→ 用户是否要求取消。"""
    cursor = await connection.execute(load(PACKAGE, "heartbeat"), {**_pairs(held), "worker": worker, "lease": lease})
    return {(row[0], row[1]): row[2] for row in await cursor.fetchall()}


async def release(
    connection: Connection, held: Sequence[tuple[UUID, int]], worker: str
) -> dict[tuple[UUID, int], bool]:
    """交还未做完的；返回仍归自己的 → 是否被别人锁着、因此没交成。"""
    cursor = await connection.execute(load(PACKAGE, "release"), {**_pairs(held), "worker": worker})
    return {(row[0], row[1]): row[2] for row in await cursor.fetchall()}


@dataclass(frozen=True, slots=True)
class Success:
    """一次成功，待结算。``traceparent`` 是这次尝试自己的跟踪；头一次投递就在受理的那条上，为空。"""

    task_id: UUID
    delivery: int
    attempt: int
    result: dict[str, Any]
    progress: dict[str, int | None] | None
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Written:
    """结算写下的状态（用户要求取消的不再重试，因此未必是所求的那个），与自受理以来的秒数。"""

    status: str
    age: float


async def settle(connection: Connection, statement: str, parameters: Mapping[str, Any]) -> Written | None:
    """执行一种不成功的结算；None = 令牌已失效，什么也没写。"""
    async with connection.cursor(row_factory=class_row(Written)) as cursor:
        await cursor.execute(load(PACKAGE, statement), parameters)
        return await cursor.fetchone()


async def settle_done(connection: Connection, successes: Sequence[Success]) -> list[Written | None]:
    """成批结算成功，次序与输入相同；None = 令牌已失效，那一个什么也没写。"""
    parameters = {
        "task_ids": [item.task_id for item in successes],
        "deliveries": [item.delivery for item in successes],
        "attempts": [item.attempt for item in successes],
        "results": [Jsonb(item.result) for item in successes],
        "progresses": [None if item.progress is None else Jsonb(item.progress) for item in successes],
        "traceparents": [item.traceparent for item in successes],
    }
    cursor = await connection.execute(load(PACKAGE, "settle_done"), parameters)
    written = {(row[0], row[1]): Written(row[2], row[3]) for row in await cursor.fetchall()}
    return [written.get((item.task_id, item.delivery)) for item in successes]


async def outcome_of(connection: Connection, task_id: UUID) -> tuple[str, int, int] | None:
    """任务当前的 (状态, 投递号, 尝试次数)。"""
    cursor = await connection.execute(load(PACKAGE, "outcome_of"), {"task_id": task_id})
    row = await cursor.fetchone()
    return None if row is None else (row[0], row[1], row[2])


async def note_fenced(connection: Connection, token: Mapping[str, Any], attempt: int, worker: str) -> None:
    await connection.execute(load(PACKAGE, "note_fenced"), {**token, "attempt": attempt, "worker": worker})


def _pairs(held: Sequence[tuple[UUID, int]]) -> dict[str, Any]:
    return {"task_ids": [item[0] for item in held], "deliveries": [item[1] for item in held]}
