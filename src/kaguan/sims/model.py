"""SIM 库存、用量、状态变更与同步检查点的表。生命周期、停机原因、在线状态与运营商原文分开放。"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Date, DateTime, Identity, Index, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from kaguan.database.metadata import NOT_DELETED, Base, EntityColumns

ICCID_UNIQUE = "uq_tb_sim_iccid"


class Sim(EntityColumns, Base):
    __tablename__ = "tb_sim"
    __table_args__ = (
        CheckConstraint("carrier in ('onelink', 'control_center')", name="carrier"),
        CheckConstraint("iccid ~ '^89[0-9]{17,18}$'", name="iccid"),
        CheckConstraint(
            "lifecycle_state in ('inventory', 'testing', 'pending_activation', 'active', 'suspended',"
            " 'pre_cancelled', 'cancelled', 'unknown')",
            name="lifecycle_state",
        ),
        CheckConstraint("session_state is null or session_state in ('online', 'offline', 'unknown')", name="session"),
        Index(ICCID_UNIQUE, "iccid", unique=True, postgresql_where=NOT_DELETED),
        Index("ix_tb_sim_carrier_id", "carrier", "id", postgresql_where=NOT_DELETED),
        Index("ix_tb_sim_lifecycle_state_id", "lifecycle_state", "id", postgresql_where=NOT_DELETED),
        Index("ix_tb_sim_live_id", "id", postgresql_where=NOT_DELETED),
        Index("ix_tb_sim_created_at_id", "created_at", "id", postgresql_where=NOT_DELETED),
        Index("ix_tb_sim_updated_at_id", "updated_at", "id", postgresql_where=NOT_DELETED),
        Index("ix_tb_sim_msisdn", "msisdn", "id", postgresql_where=text("deleted_at is null and msisdn is not null")),
        Index("ix_tb_sim_imsi", "imsi", "id", postgresql_where=text("deleted_at is null and imsi is not null")),
    )

    iccid: Mapped[str] = mapped_column(Text)
    carrier: Mapped[str] = mapped_column(Text)
    msisdn: Mapped[str | None] = mapped_column(Text)
    imsi: Mapped[str | None] = mapped_column(Text)
    remark: Mapped[str | None] = mapped_column(Text)
    luhn_valid: Mapped[bool]
    lifecycle_state: Mapped[str] = mapped_column(Text, server_default="unknown")
    suspend_reason: Mapped[str | None] = mapped_column(Text)
    session_state: Mapped[str | None] = mapped_column(Text)
    carrier_status: Mapped[str | None] = mapped_column(Text)  # 运营商原文
    status_source: Mapped[str | None] = mapped_column(Text)  # 谁说的：方言名
    status_changed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    status_synced_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    info_synced_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    activated_on: Mapped[date | None] = mapped_column(Date)


class SimUsage(Base):
    """日用量，自然键 (iccid, day)；运营商的更正以更高的 ``revision`` 覆盖。"""

    __tablename__ = "tb_sim_usage"
    __table_args__ = (
        CheckConstraint("data_bytes >= 0 and sms_count >= 0 and revision >= 1", name="amounts"),
        Index("ix_tb_sim_usage_day_carrier", "day", "carrier"),
    )

    iccid: Mapped[str] = mapped_column(Text, primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    carrier: Mapped[str] = mapped_column(Text)
    data_bytes: Mapped[int] = mapped_column(BigInteger)
    sms_count: Mapped[int] = mapped_column(server_default="0")
    revision: Mapped[int] = mapped_column(server_default="1")
    synced_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class SimEvent(Base):
    """状态变更：与新状态同一事务写下。"""

    __tablename__ = "tb_sim_event"
    __table_args__ = (Index("ix_tb_sim_event_iccid_id", "iccid", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    iccid: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    old_state: Mapped[str] = mapped_column(Text)
    new_state: Mapped[str] = mapped_column(Text)
    carrier_status: Mapped[str | None] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    task_id: Mapped[UUID | None] = mapped_column(Uuid)


class SyncCheckpoint(Base):
    """同步检查点：任务 × (运营商, 类型, 业务日)。被杀在哪里就从哪里接着来。"""

    __tablename__ = "tb_sync_checkpoint"
    __table_args__ = (
        CheckConstraint("sync_type in ('sim_info', 'sim_status', 'usage')", name="sync_type"),
        CheckConstraint("batches >= 0", name="batches"),
        Index("ix_tb_sync_checkpoint_subject", "carrier", "sync_type", "day"),
    )

    task_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    carrier: Mapped[str] = mapped_column(Text, primary_key=True)
    sync_type: Mapped[str] = mapped_column(Text, primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    cursor: Mapped[str | None] = mapped_column(Text)
    batches: Mapped[int] = mapped_column(server_default="0")
    counters: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    done_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
