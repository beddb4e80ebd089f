"""幂等键的 SQL。连接由调用方给，从不提交。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from kaguan.database.pool import Connection
from kaguan.database.sql import load

PACKAGE = "kaguan.idempotency"


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """幂等键的首个应答。"""

    fingerprint: bytes
    status: int
    headers: dict[str, str]
    body: dict[str, Any]


async def lock(connection: Connection, principal: str, key: str) -> bool:
    """在当前事务里占住幂等键；别人占着就是 False（不等）。"""
    cursor = await connection.execute(load(PACKAGE, "lock"), {"principal": principal, "key": key})
    row = await cursor.fetchone()
    return bool(row and row[0])


async def find(connection: Connection, principal: str, key: str) -> StoredAnswer | None:
    async with connection.cursor(row_factory=class_row(StoredAnswer)) as cursor:
        await cursor.execute(load(PACKAGE, "find"), {"principal": principal, "key": key})
        return await cursor.fetchone()


async def remember(connection: Connection, principal: str, key: str, answer: StoredAnswer, lifetime: float) -> None:
    await connection.execute(
        load(PACKAGE, "remember"),
        {
            "principal": principal,
            "key": key,
            "fingerprint": answer.fingerprint,
            "status": answer.status,
            "headers": Jsonb(answer.headers),
            "body": Jsonb(answer.body),
            "lifetime": lifetime,
        },
    )


async def expire(connection: Connection, limit: int) -> int:
    """删去一批过期的幂等键；返回个数。"""
    return (await connection.execute(load(PACKAGE, "expire"), {"limit": limit})).rowcount
