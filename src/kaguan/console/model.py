"""控制台的表：登录会话（只存摘要）与操作审计。"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Identity, Index, LargeBinary, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from kaguan.database.metadata import Base


class Session(Base):
    """一次登录。``id`` 是 cookie 秘密的 SHA-256：库泄露也登不进来。"""

    __tablename__ = "tb_session"
    __table_args__ = (
        CheckConstraint("octet_length(id) = 32", name="id"),
        Index("ix_tb_session_expires_at", "expires_at"),
    )

    id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    token_id: Mapped[int] = mapped_column(BigInteger)
    csrf: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    last_seen_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Audit(Base):
    """谁在何时做了什么、成没成；与操作同一事务写入。"""

    __tablename__ = "tb_audit"
    __table_args__ = (
        CheckConstraint("outcome in ('ok', 'refused', 'failed')", name="outcome"),
        Index("ix_tb_audit_anonymous", "at", postgresql_where=text("token_id is null and outcome = 'refused'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())
    actor: Mapped[str] = mapped_column(Text)
    token_id: Mapped[int | None] = mapped_column(BigInteger)
    action: Mapped[str] = mapped_column(Text)
    target: Mapped[str | None] = mapped_column(Text)
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    request_id: Mapped[str | None] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(Text)
