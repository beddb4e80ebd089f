"""PostgreSQL 的历史断了要看得出：认过的历史记在 tb_broker，不见了的任务有名单

加可空的列与一张表只要一瞬；空 = 还没有认过，旧的进程不认得它们，也不碰。

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tb_broker", sa.Column("lineage", sa.Uuid(), nullable=True))
    op.add_column("tb_broker", sa.Column("history", sa.Text(), nullable=True))
    op.add_column("tb_broker", sa.Column("incarnation", sa.DateTime(timezone=True), nullable=True))
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
    for name in ("incarnation", "history", "lineage"):
        op.drop_column("tb_broker", name)
