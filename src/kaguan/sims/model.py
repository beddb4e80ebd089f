"""SIM 库存、档案、用量、状态变更与同步检查点的表。生命周期、停机原因、在线状态与运营商原文分开放。

号码都按字节排（``collate "C"``）：同一个索引既找得到恰好的，也找得到以某几位开头的；倒过来的那个找结尾。
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    DateTime,
    Identity,
    Index,
    Text,
    TextClause,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from kaguan.database.metadata import NOT_DELETED, Base, EntityColumns

ICCID_UNIQUE = "uq_tb_sim_iccid"
EID_UNIQUE = "uq_tb_sim_eid"
NUMBER = Text(collation="C")  # 一个号码：数字，按字节排


def _present(column: str) -> TextClause:
    """没删的、填了这一列的。"""
    return text(f"deleted_at is null and {column} is not null")


def _reversed(number: str, where: TextClause) -> Index:
    """找结尾的：倒过来排。号码自己也带着，才不必到表里去看，够数就停得下来。"""
    return Index(
        f"ix_tb_sim_{number}_reversed",
        text(f"reverse({number})"),
        "id",
        postgresql_include=[number],
        postgresql_where=where,
    )


class Sim(EntityColumns, Base):
    """一张卡。ICCID 是 profile 的，会换（见 :class:`SimProfile`）；EID 是芯片的，IMEI 是设备的，不随它换。"""

    __tablename__ = "tb_sim"
    __table_args__ = (
        # 有哪些运营商由程序说了算，库里只管写法
        CheckConstraint("carrier ~ '^[a-z][a-z0-9_]{0,31}$'", name="carrier"),
        CheckConstraint("iccid ~ '^89[0-9]{17,18}$'", name="iccid"),
        CheckConstraint("eid ~ '^89[0-9]{30}$'", name="eid"),
        CheckConstraint("imei ~ '^[0-9]{15}$'", name="imei"),
        CheckConstraint(
            "lifecycle_state in ('inventory', 'testing', 'pending_activation', 'active', 'suspended',"
            " 'pre_cancelled', 'cancelled', 'unknown')",
            name="lifecycle_state",
        ),
        CheckConstraint("session_state is null or session_state in ('online', 'offline', 'unknown')", name="session"),
        Index(ICCID_UNIQUE, "iccid", unique=True, postgresql_include=["id"], postgresql_where=NOT_DELETED),
        Index(EID_UNIQUE, "eid", unique=True, postgresql_include=["id"], postgresql_where=_present("eid")),
        # 常一起筛的三样，另两样在 id 之后：对不上的在索引里就认得出，不必逐行到表里看
        Index("ix_tb_sim_carrier_id", "carrier", "id", "lifecycle_state", "plan", postgresql_where=NOT_DELETED),
        Index("ix_tb_sim_lifecycle_state_id", "lifecycle_state", "id", "carrier", "plan", postgresql_where=NOT_DELETED),
        Index("ix_tb_sim_live_id", "id", postgresql_where=NOT_DELETED),
        Index("ix_tb_sim_created_at_id", "created_at", "id", postgresql_where=NOT_DELETED),
        Index("ix_tb_sim_updated_at_id", "updated_at", "id", postgresql_where=NOT_DELETED),
        Index("ix_tb_sim_msisdn", "msisdn", "id", postgresql_where=_present("msisdn")),
        Index("ix_tb_sim_imsi", "imsi", "id", postgresql_where=_present("imsi")),
        Index("ix_tb_sim_imei", "imei", "id", postgresql_where=_present("imei")),
        _reversed("iccid", NOT_DELETED),
        *(_reversed(number, _present(number)) for number in ("eid", "msisdn", "imsi", "imei")),
        Index("ix_tb_sim_plan_id", "plan", "id", "lifecycle_state", "carrier", postgresql_where=_present("plan")),
        Index("ix_tb_sim_group_name_id", "group_name", "id", postgresql_where=_present("group_name")),
        Index("ix_tb_sim_tags", "tags", postgresql_using="gin", postgresql_where=NOT_DELETED),
        Index("ix_tb_sim_customer_id", "customer", "id", postgresql_where=_present("customer")),
    )

    iccid: Mapped[str] = mapped_column(NUMBER)
    carrier: Mapped[str] = mapped_column(Text)
    eid: Mapped[str | None] = mapped_column(NUMBER)
    msisdn: Mapped[str | None] = mapped_column(NUMBER)
    imsi: Mapped[str | None] = mapped_column(NUMBER)
    imei: Mapped[str | None] = mapped_column(NUMBER)
    plan: Mapped[str | None] = mapped_column(Text)
    group_name: Mapped[str | None] = mapped_column(Text)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    customer: Mapped[str | None] = mapped_column(Text)
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
    profile_since: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class SimProfile(Base):
    """一张卡用过、已换下的 profile。"""

    __tablename__ = "tb_sim_profile"
    __table_args__ = (
        Index("ix_tb_sim_profile_sim_id_id", "sim_id", "id"),
        Index("ix_tb_sim_profile_iccid", "iccid", "sim_id"),
        Index("ix_tb_sim_profile_iccid_reversed", text("reverse(iccid)"), "sim_id", postgresql_include=["iccid"]),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    sim_id: Mapped[int] = mapped_column(BigInteger)
    iccid: Mapped[str] = mapped_column(NUMBER)
    carrier: Mapped[str] = mapped_column(Text)
    msisdn: Mapped[str | None] = mapped_column(Text)
    imsi: Mapped[str | None] = mapped_column(Text)
    since: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    until: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class SimTask(Base):
    """为一张卡而做的任务；随任务一同过期。"""

    __tablename__ = "tb_sim_task"
    __table_args__ = (Index("ix_tb_sim_task_task_id", "task_id"),)

    sim_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    task_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)


class SimUsage(Base):
    """日用量，自然键 (iccid, day)；运营商的更正以更高的 ``revision`` 覆盖。"""

    __tablename__ = "tb_sim_usage"
    __table_args__ = (
        CheckConstraint("data_bytes >= 0 and sms_count >= 0 and revision >= 1", name="amounts"),
        Index("ix_tb_sim_usage_day_carrier", "day", "carrier"),
    )

    iccid: Mapped[str] = mapped_column(NUMBER, primary_key=True)
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
    iccid: Mapped[str] = mapped_column(NUMBER)
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
