"""不见了的任务有了名单：投递还在 Redis 里，PostgreSQL 却丢了受理它的那一笔

只加一张表：旧的进程不认得它，也不碰它。

Revision ID: 0017
Revises: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tb_vanished",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("delivery", sa.Integer(), nullable=False),
        sa.Column(
            "first_seen", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("task_id", name="pk_tb_vanished"),
    )
    op.create_index("ix_tb_vanished_first_seen", "tb_vanished", ["first_seen"])


def downgrade() -> None:
    op.drop_table("tb_vanished")
