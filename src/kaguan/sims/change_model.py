"""变更与回执的表：一次要求一行，一张卡一张回执。回执随它的任务走（迁移里的触发器），任务过期了还在。"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Identity, Index, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from kaguan.database.metadata import Base
from kaguan.sims.model import NUMBER


class SimChange(Base):
    """一次要求；``asked`` 是照收到的写法，同一个 ``request_id`` 再来时拿它比。"""

    __tablename__ = "tb_sim_change"
    __table_args__ = (
        CheckConstraint("change in ('suspend', 'resume', 'activate', 'plan')", name="change"),
        CheckConstraint("(change = 'plan') = (plan is not null)", name="plan"),
        Index(
            "uq_tb_sim_change_request",
            "requested_by",
            "request_id",
            unique=True,
            postgresql_where=text("request_id is not null"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    change: Mapped[str] = mapped_column(Text)
    plan: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    requested_by: Mapped[str] = mapped_column(Text)
    requested_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    request_id: Mapped[str | None] = mapped_column(Text)
    schedule_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    asked: Mapped[dict[str, Any]] = mapped_column(JSONB)
    cards: Mapped[int]  # 点名了几张，也就是有几张回执


class SimReceipt(Base):
    """一张卡的回执；没有受理的没有任务。``reference`` 是我们给运营商的流水号，``order_number`` 是它给的单号。"""

    __tablename__ = "tb_sim_receipt"
    __table_args__ = (
        CheckConstraint("status in ('pending', 'succeeded', 'refused', 'failed', 'uncertain')", name="status"),
        CheckConstraint("(settled_at is null) = (status in ('pending', 'uncertain'))", name="settled"),
        CheckConstraint("task_id is not null or status = 'refused'", name="unaccepted"),
        Index("uq_tb_sim_receipt_change_iccid", "change_id", "iccid", unique=True),
        Index("uq_tb_sim_receipt_task", "task_id", unique=True, postgresql_where=text("task_id is not null")),
        Index("ix_tb_sim_receipt_open", "change_id", postgresql_where=text("status in ('pending', 'uncertain')")),
        Index("ix_tb_sim_receipt_iccid_id", "iccid", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    change_id: Mapped[int] = mapped_column(BigInteger)
    iccid: Mapped[str] = mapped_column(NUMBER)
    task_id: Mapped[UUID | None] = mapped_column(Uuid)
    requested_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    status: Mapped[str] = mapped_column(Text, server_default="pending")
    reason: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    reference: Mapped[str | None] = mapped_column(Text)
    called_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))  # 记下要去做的时刻
    answered_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))  # 运营商说收下了的时刻
    order_number: Mapped[str | None] = mapped_column(Text)
    evidence: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    settled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
