"""令牌的 SQL。连接由调用方给，从不提交。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from kaguan.database.pool import Connection
from kaguan.database.sql import load

PACKAGE = "kaguan.tokens"
REVOKED = "kaguan_token_revoked"  # 通知的频道


@dataclass(frozen=True, slots=True)
class TokenMatch:
    id: int
    name: str
    token_hash: bytes
    scopes: list[str]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """一枚令牌的全部公开事实（没有令牌本身，也没有摘要）。"""

    id: int
    name: str
    hint: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


async def find_by_hash(connection: Connection, token_hash: bytes) -> TokenMatch | None:
    async with connection.cursor(row_factory=class_row(TokenMatch)) as cursor:
        await cursor.execute(load(PACKAGE, "token_by_hash"), {"token_hash": token_hash})
        return await cursor.fetchone()


async def touch(connection: Connection, ids: Sequence[int]) -> None:
    await connection.execute(load(PACKAGE, "token_touch"), {"ids": list(ids)})


async def insert(
    connection: Connection, name: str, token_hash: bytes, hint: str, scopes: Sequence[str], lifetime: float | None
) -> TokenRow:
    """插入一枚令牌；``lifetime`` 秒之后过期，None 为不过期。

    Raises:
        psycopg.Error: 没有插入，例如重名。
    """
    parameters = {"name": name, "token_hash": token_hash, "hint": hint, "scopes": list(scopes), "lifetime": lifetime}
    async with connection.cursor(row_factory=class_row(TokenRow)) as cursor:
        await cursor.execute(load(PACKAGE, "token_insert"), parameters)
        row = await cursor.fetchone()
    if row is None:
        raise LookupError("插入令牌没有返回行")
    return row


async def select_all(connection: Connection) -> list[TokenRow]:
    async with connection.cursor(row_factory=class_row(TokenRow)) as cursor:
        await cursor.execute(load(PACKAGE, "token_list"))
        return await cursor.fetchall()


async def revoke(connection: Connection, name: str) -> bool:
    """吊销；没有这个名字的有效令牌就是 False。"""
    cursor = await connection.execute(load(PACKAGE, "token_revoke"), {"name": name, "channel": REVOKED})
    return cursor.rowcount > 0
