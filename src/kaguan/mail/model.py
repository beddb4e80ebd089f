"""邮件逐收件人的意向与结果：发信之前记意向，之后记结果（I3）。"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, SmallInteger, Text, Uuid, func
from sqlalchemy.orm import Mapped, mapped_column

from kaguan.database.metadata import Base


class EmailDelivery(Base):
    __tablename__ = "tb_email_delivery"
    __table_args__ = (
        CheckConstraint("status in ('intended', 'accepted', 'refused', 'deferred')", name="status"),
        CheckConstraint("(settled_at is null) = (status = 'intended')", name="settled"),
    )

    task_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    recipient: Mapped[str] = mapped_column(Text, primary_key=True)
    status: Mapped[str] = mapped_column(Text, server_default="intended")
    message_id: Mapped[str] = mapped_column(Text)
    smtp_code: Mapped[int | None] = mapped_column(SmallInteger)
    smtp_reply: Mapped[str | None] = mapped_column(Text)
    attempt: Mapped[int] = mapped_column(SmallInteger)
    intended_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())
    settled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
