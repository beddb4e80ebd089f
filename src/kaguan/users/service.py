"""用户的规则。写什么在这里定，何时提交由调用者定。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from kaguan.database.entities import require_version
from kaguan.database.pool import AfterCommit
from kaguan.logging.operation import operation
from kaguan.mail.staging import MailOutbox, welcome_mail
from kaguan.users import store
from kaguan.users.model import UserStatus
from kaguan.users.store import UserRow
from kaguan.words.errors import not_found


@dataclass(frozen=True, slots=True)
class NewUser:
    """要建的用户。口令在开事务之前已散列：散列要几百毫秒，不能占着连接。"""

    username: str
    email: str
    password_hash: str


@dataclass(frozen=True, slots=True)
class CreatedUser:
    """建好的用户与欢迎邮件的任务号。"""

    user: UserRow
    welcome_task: UUID


@dataclass(frozen=True, slots=True)
class UserChange:
    """要改的列；``None`` 表示不动。"""

    email: str | None = None
    status: UserStatus | None = None
    password_hash: str | None = None

    def values(self) -> dict[str, Any]:
        named = {"email": self.email, "status": self.status, "password_hash": self.password_hash}
        return {column: value for column, value in named.items() if value is not None}


async def create_user(connection: AsyncConnection, new: NewUser, mails: MailOutbox) -> CreatedUser:
    """建用户并暂存欢迎邮件，同一事务。

    Raises:
        DomainError: 1005，用户名或邮箱已被占用。
    """
    with operation("user.create", mails.after_commit) as facts:
        user = await store.insert_user(connection, new.username, new.email, new.password_hash)
        facts["user_id"] = user.id
        welcome_task = await mails.email(connection, welcome_mail(user.username, user.email, mails.language))
        facts["task_id"] = str(welcome_task)
        return CreatedUser(user, welcome_task)


async def get_user(connection: AsyncConnection, user_id: int) -> UserRow:
    """按编号取用户。

    Raises:
        DomainError: 1004，没有或已删除。
    """
    user = await store.get_user(connection, user_id)
    if user is None:
        raise not_found("用户", "user")
    return user


async def update_user(
    connection: AsyncConnection,
    user_id: int,
    change: UserChange,
    expected_version: int | None,
    after_commit: AfterCommit,
) -> UserRow:
    """改用户；``expected_version`` 为空即不问版本。

    Raises:
        DomainError: 1004 没有；1013 版本已变；1005 邮箱已被占用。
    """
    with operation("user.update", after_commit, user_id=user_id) as facts:
        await _lock(connection, user_id, expected_version)
        user = await store.update_user(connection, user_id, change.values())
        facts["version"] = user.version
        return user


async def delete_user(
    connection: AsyncConnection, user_id: int, expected_version: int | None, after_commit: AfterCommit
) -> None:
    """软删除用户；用户名与邮箱随即可再用。

    Raises:
        DomainError: 1004 没有；1013 版本已变。
    """
    with operation("user.delete", after_commit, user_id=user_id):
        await _lock(connection, user_id, expected_version)
        await store.delete_user(connection, user_id)


async def _lock(connection: AsyncConnection, user_id: int, expected_version: int | None) -> None:
    user = await store.lock_user(connection, user_id)
    if user is None:
        raise not_found("用户", "user")
    require_version(user.version, expected_version)
