"""唯一的 MetaData、约束命名规则与基础列。表之间不建外键、不用 relationship()。"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Identity, MetaData, func, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "pk": "pk_%(table_name)s",
}
# 软删除的行不占唯一的名字
NOT_DELETED = text("deleted_at is null")


class Base(DeclarativeBase):
    """全部表的基类。"""

    metadata = MetaData(naming_convention=NAMING)


class EntityColumns:
    """实体的基础列：自增主键、时间戳、软删除、版本（ETag 用）。时间一律取 PostgreSQL 的钟。"""

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    deleted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    version: Mapped[int] = mapped_column(server_default="1")
