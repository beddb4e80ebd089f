"""会话的 SQL。连接由调用方给，从不提交。"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.rows import class_row

from kaguan.database.pool import Connection
from kaguan.database.sql import load

PACKAGE = "kaguan.sessions"


@dataclass(frozen=True, slots=True)
class SessionRow:
    """会话与它背后的令牌。"""

    token_id: int
    name: str
    scopes: list[str]
    csrf: str
    idle_seconds: float


async def insert(connection: Connection, key: bytes, token_id: int, csrf: str, lifetime: float) -> None:
    """``lifetime`` 秒之后无论如何都过期。"""
    parameters = {"id": key, "token_id": token_id, "csrf": csrf, "lifetime": lifetime}
    await connection.execute(load(PACKAGE, "open"), parameters)


async def find(connection: Connection, key: bytes, idle: float) -> SessionRow | None:
    async with connection.cursor(row_factory=class_row(SessionRow)) as cursor:
        await cursor.execute(load(PACKAGE, "find"), {"id": key, "idle": idle})
        return await cursor.fetchone()


async def touch(connection: Connection, key: bytes) -> None:
    await connection.execute(load(PACKAGE, "touch"), {"id": key})


async def delete(connection: Connection, key: bytes) -> None:
    await connection.execute(load(PACKAGE, "close"), {"id": key})
