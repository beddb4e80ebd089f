"""实体（用户、订单、卡）共有的规矩：改一次版本加一，软删除，版本对得上才改，列表只看没删的。"""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Update, func, update

from kaguan.database.metadata import EntityColumns
from kaguan.words.errors import Code, DomainError

Entity = TypeVar("Entity", bound=EntityColumns)


def changing(entity: type[Entity], entity_id: int) -> Update:
    """改没删的一行的语句；列由调用者给。调用方已锁住这一行。"""
    statement = update(entity).where(entity.id == entity_id, entity.deleted_at.is_(None))
    return statement.values(version=entity.version + 1, updated_at=func.now())


def deleting(entity: type[Entity], entity_id: int) -> Update:
    """软删除的语句：行留着，唯一的名字让出来。"""
    return changing(entity, entity_id).values(deleted_at=func.now())


def matching(entity: type[Entity], *named: tuple[Any, Any]) -> list[ColumnElement[bool]]:
    """没删的、各列恰好等于给了的值的；``named`` 是列与值，值是 ``None`` 即没给。"""
    return [entity.deleted_at.is_(None), *(column == value for column, value in named if value is not None)]


def require_version(version: int, expected: int | None) -> None:
    """``expected`` 为空即不问。

    Raises:
        DomainError: 1013 版本已变。
    """
    if expected is not None and version != expected:
        raise DomainError(Code.PRECONDITION_FAILED)
