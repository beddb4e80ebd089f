"""幂等键的表。"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, DateTime, Index, LargeBinary, SmallInteger, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from kaguan.database.metadata import Base


class IdempotencyKey(Base):
    """``Idempotency-Key`` 的首个应答；与业务写入同一事务落库。"""

    __tablename__ = "tb_idempotency_key"
    __table_args__ = (
        CheckConstraint("length(key) between 1 and 255", name="key"),
        CheckConstraint("octet_length(fingerprint) = 32", name="fingerprint"),
        Index("ix_tb_idempotency_key_expires_at", "expires_at"),
    )

    principal: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int | None] = mapped_column(SmallInteger)
    headers: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    body: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
