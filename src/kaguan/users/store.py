"""用户表的 SQL。只有语句，没有规则；连接是参数，从不提交。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kaguan.database.entities import Criteria, changing, deleting
from kaguan.database.paging import Columns, Page, PageRequest, fetch_page
from kaguan.database.violations import conflicts_named
from kaguan.users.model import EMAIL_UNIQUE, USERNAME_UNIQUE, User, UserStatus

# 口令散列不在其中：读用户的路径上没有它
COLUMNS: Columns = (User.id, User.username, User.email, User.status, User.version, User.created_at, User.updated_at)
LIVE = User.deleted_at.is_(None)
CONFLICTS = {
    USERNAME_UNIQUE: ("username", "用户名已被占用", "username is already taken"),
    EMAIL_UNIQUE: ("email", "邮箱已被占用", "email is already taken"),
}


@dataclass(frozen=True, slots=True)
class UserRow:
    """一行用户。"""

    id: int
    username: str
    email: str
    status: str
    version: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, columns: Sequence[Any]) -> UserRow:
        """按 ``COLUMNS`` 的次序。"""
        return cls(*columns)


async def insert_user(connection: AsyncConnection, username: str, email: str, password_hash: str) -> UserRow:
    """写入一个用户。

    Raises:
        DomainError: 1005，用户名或邮箱已被未删除的用户占用。
    """
    statement = insert(User).values(username=username, email=email, password_hash=password_hash).returning(*COLUMNS)
    with conflicts_named(CONFLICTS):
        row = (await connection.execute(statement)).one()
    return UserRow.of(row)


async def get_user(connection: AsyncConnection, user_id: int) -> UserRow | None:
    row = (await connection.execute(select(*COLUMNS).where(User.id == user_id, LIVE))).one_or_none()
    return None if row is None else UserRow.of(row)


async def lock_user(connection: AsyncConnection, user_id: int, *, shared: bool = False) -> UserRow | None:
    """读并锁住一行直到事务结束；``shared`` 只挡改与删，不挡别的读者。"""
    statement = select(*COLUMNS).where(User.id == user_id, LIVE)
    locked = statement.with_for_update(read=shared, key_share=not shared)
    row = (await connection.execute(locked)).one_or_none()
    return None if row is None else UserRow.of(row)


async def update_user(connection: AsyncConnection, user_id: int, values: dict[str, Any]) -> UserRow:
    """改若干列，版本加一；调用方已锁住这一行。

    Raises:
        DomainError: 1005，邮箱已被占用。
    """
    statement = changing(User, user_id).values(**values).returning(*COLUMNS)
    with conflicts_named(CONFLICTS):
        row = (await connection.execute(statement)).one()
    return UserRow.of(row)


async def delete_user(connection: AsyncConnection, user_id: int) -> None:
    """软删除：行留着，用户名与邮箱让出来。"""
    await connection.execute(deleting(User, user_id))


@dataclass(frozen=True, slots=True)
class UserFilter:
    """列表的条件；用户名与邮箱不分大小写，和唯一性一样。"""

    status: UserStatus | None = None
    username: str | None = None
    email: str | None = None

    def criteria(self) -> Criteria:
        username, email = (value and value.lower() for value in (self.username, self.email))
        named = ((User.status, self.status), (func.lower(User.username), username), (func.lower(User.email), email))
        return Criteria(User, named, indexed=(User.status,))


async def list_users(connection: AsyncConnection, request: PageRequest, wanted: UserFilter) -> Page[UserRow]:
    return await fetch_page(connection, select(*COLUMNS), wanted.criteria(), request, UserRow.of)
