"""用户表。用户名与邮箱只在未删除的行里唯一：软删除之后可再用。"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from kaguan.database.metadata import NOT_DELETED, Base, EntityColumns


class UserStatus(StrEnum):
    ACTIVE = "active"
    INACTIVE = "inactive"
    BANNED = "banned"


USERNAME_UNIQUE = "uq_tb_user_username"
EMAIL_UNIQUE = "uq_tb_user_email"


class User(EntityColumns, Base):
    __tablename__ = "tb_user"
    __table_args__ = (
        CheckConstraint("status in ('active', 'inactive', 'banned')", name="status"),
        CheckConstraint("length(username) between 3 and 50", name="username"),
        CheckConstraint("length(email) between 3 and 254", name="email"),
        Index(USERNAME_UNIQUE, text("lower(username)"), unique=True, postgresql_where=NOT_DELETED),
        Index(EMAIL_UNIQUE, text("lower(email)"), unique=True, postgresql_where=NOT_DELETED),
        Index("ix_tb_user_status_id", "status", "id", postgresql_where=NOT_DELETED),
        Index("ix_tb_user_live_id", "id", postgresql_where=NOT_DELETED),
        Index("ix_tb_user_created_at_id", "created_at", "id", postgresql_where=NOT_DELETED),
        Index("ix_tb_user_updated_at_id", "updated_at", "id", postgresql_where=NOT_DELETED),
    )

    username: Mapped[str] = mapped_column(Text)
    email: Mapped[str] = mapped_column(Text)
    password_hash: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default="active")
