"""一次投递多个任务、按键有序、控制台的会话与审计

加列不改写表，约束只管新行，锁都只要一瞬：业务照常进行（FAULTS.md 58）。校验旧行与大表的索引在 0004。

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OLD_TYPES = "type in ('email:send', 'data:sync', 'sim:status_sync')"
NEW_TYPES = "type in ('email:send', 'data:sync', 'sim:status_sync', 'event:publish')"
OLD_KINDS = (
    "kind in ('attempt_failed', 'redriven', 'fenced', 'uncertain', 'cancel_requested', 'cancelled', 'retried', "
    "'interrupted', 'parked', 'resend')"
)
NEW_KINDS = OLD_KINDS.replace("'resend'", "'resend', 'verified'")
ORDERED = "(ordering_key is null) = (ordering_seq is null)"
KEY_LENGTH = "ordering_key is null or length(ordering_key) between 1 and 128"


def upgrade() -> None:
    op.add_column("tb_task", sa.Column("job", sa.Text(), nullable=True))
    op.add_column("tb_task", sa.Column("ordering_key", sa.Text(), nullable=True))
    op.add_column("tb_task", sa.Column("ordering_seq", sa.BigInteger(), nullable=True))
    op.add_column("tb_outbox", sa.Column("alone", sa.Boolean(), server_default="false", nullable=False))
    _replace_check("tb_task", "ck_tb_task_type", NEW_TYPES)
    _replace_check("tb_task_event", "ck_tb_task_event_kind", NEW_KINDS)
    _replace_check("tb_task", "ck_tb_task_ordering", ORDERED)
    _replace_check("tb_task", "ck_tb_task_ordering_key", KEY_LENGTH)
    op.create_table(
        "tb_ordering",
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.Uuid(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("principal", "key", name=op.f("pk_tb_ordering")),
    )
    op.create_index(
        "uq_tb_ordering_head", "tb_ordering", ["head"], unique=True, postgresql_where=sa.text("head is not null")
    )
    op.create_index("ix_tb_ordering_idle", "tb_ordering", ["updated_at"], postgresql_where=sa.text("head is null"))
    op.create_table(
        "tb_session",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column("csrf", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("octet_length(id) = 32", name=op.f("ck_tb_session_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tb_session")),
    )
    op.create_index("ix_tb_session_expires_at", "tb_session", ["expires_at"])
    op.create_table(
        "tb_audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("token_id", sa.BigInteger(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.CheckConstraint("outcome in ('ok', 'refused', 'failed')", name=op.f("ck_tb_audit_outcome")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tb_audit")),
    )


def downgrade() -> None:
    op.drop_table("tb_audit")
    op.drop_table("tb_session")
    op.drop_table("tb_ordering")
    op.drop_constraint("ck_tb_task_ordering_key", "tb_task")
    op.drop_constraint("ck_tb_task_ordering", "tb_task")
    _replace_check("tb_task_event", "ck_tb_task_event_kind", OLD_KINDS)
    _replace_check("tb_task", "ck_tb_task_type", OLD_TYPES)
    op.drop_column("tb_outbox", "alone")
    op.drop_column("tb_task", "ordering_seq")
    op.drop_column("tb_task", "ordering_key")
    op.drop_column("tb_task", "job")


def _replace_check(table: str, name: str, condition: str) -> None:
    """换约束，旧行不校验：只要一瞬的锁（回退之后，新类型的旧行因此还能留着）。"""
    op.execute(f"alter table {table} drop constraint if exists {name}")
    op.execute(f"alter table {table} add constraint {name} check ({condition}) not valid")
