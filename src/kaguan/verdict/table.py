"""判断记着的事的表。"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Identity, Index, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from kaguan.database.metadata import Base


class RememberedConcern(Base):
    """一件事的始末：从何时起，各种轻重最后看见的时刻，说它要用的；没有结束的也是判断的记忆。

    ``told``：告诉过人的最重的，``told_at`` 是何时；``cleared_at`` 是何时告诉过它没了。
    """

    __tablename__ = "tb_concern"
    __table_args__ = (
        CheckConstraint("num_nonnulls(warn_at, bad_at) > 0", name="seen"),
        CheckConstraint("told in ('warn', 'bad')", name="told"),
        CheckConstraint(
            "num_nonnulls(told, told_at) <> 1 and (told is not null or cleared_at is null)", name="telling"
        ),
        Index("uq_tb_concern_open", "code", "subject", unique=True, postgresql_where=text("ended_at is null")),
        Index(
            "ix_tb_concern_kept",
            "id",
            postgresql_where=text("ended_at is null or (told is not null and cleared_at is null)"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    code: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    parameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    since: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    first_seen: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())
    warn_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    bad_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    told: Mapped[str | None] = mapped_column(Text)
    told_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    cleared_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Acknowledged(Base):
    """有人知道了的一件：谁、为什么、到何时；比收起时更重就再说。"""

    __tablename__ = "tb_acknowledgement"
    __table_args__ = (
        CheckConstraint("level in ('warn', 'bad')", name="level"),
        CheckConstraint("length(reason) between 1 and 500", name="reason"),
        Index("uq_tb_acknowledgement_code_subject", "code", "subject", unique=True),
    )

    id: Mapped[UUID] = mapped_column(Uuid, server_default=func.gen_random_uuid(), primary_key=True)
    code: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    level: Mapped[str] = mapped_column(Text)
    most: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())
    until: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Watching(Base):
    """上一眼是何时看的：只有一行。"""

    __tablename__ = "tb_watch"
    __table_args__ = (CheckConstraint("id = 1", name="id"),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    looked_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
