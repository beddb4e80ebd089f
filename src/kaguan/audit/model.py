"""操作审计的表。"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Identity, Index, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from kaguan.database.metadata import Base


class Audit(Base):
    """谁在何时做了什么、成没成；与操作同一事务写入。"""

    __tablename__ = "tb_audit"
    __table_args__ = (
        CheckConstraint("outcome in ('ok', 'refused', 'failed')", name="outcome"),
        Index("ix_tb_audit_at", "at", "id"),
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
