"""登录会话的表：只存摘要。"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Index, LargeBinary, Text, func
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
