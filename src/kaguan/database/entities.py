"""实体（用户、订单、卡）共有的规矩：改一次版本加一，软删除，版本对得上才改，列表只看没删的。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Update, func, update
from sqlalchemy.orm import InstrumentedAttribute

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


@dataclass(frozen=True, slots=True)
class Criteria:
    """列表的条件；没删的才算。

    Attributes:
        equal: 列与它须等于的值；值是 ``None`` 即没给。
        others: 别的条件。
        indexed: 有（它，id）的索引、其中也有彼此的列：按 id 排而只筛了其中的，沿头一个的索引走。
    """

    entity: type[EntityColumns]
    equal: Sequence[tuple[Any, Any]]
    others: Sequence[ColumnElement[bool]] = ()
    indexed: Sequence[InstrumentedAttribute[Any]] = ()

    def where(self, *, but: InstrumentedAttribute[Any] | None = None) -> list[ColumnElement[bool]]:
        """``but`` 那一列的除外。"""
        same = [column == value for column, value in self.equal if value is not None and column is not but]
        return [self.entity.deleted_at.is_(None), *same, *self.others]

    def leading(self) -> tuple[InstrumentedAttribute[Any], Any] | None:
        """沿哪一列的索引走，它须等于什么。"""
        given = {column: value for column, value in self.equal if value is not None}
        if self.others or not given.keys() <= {*self.indexed}:  # 别的列许更挑得准，由规划器选
            return None
        return next(((column, given[column]) for column in self.indexed if column in given), None)


def require_version(version: int, expected: int | None) -> None:
    """``expected`` 为空即不问。

    Raises:
        DomainError: 1013 版本已变。
    """
    if expected is not None and version != expected:
        raise DomainError(Code.PRECONDITION_FAILED)
