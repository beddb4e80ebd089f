"""有序键的索引；校验 0003 换上的约束

都在事务之外、可以重来：并发建索引与校验约束不挡读写，要扫一遍大表，时限因此放开。

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kaguan.database.migrate import unhurried

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

CHECKS = {
    "tb_task": ("ck_tb_task_type", "ck_tb_task_ordering", "ck_tb_task_ordering_key"),
    "tb_task_event": ("ck_tb_task_event_kind",),
}


def upgrade() -> None:
    with unhurried():
        # 上次建到一半的索引是无效的，先去掉
        op.execute("drop index concurrently if exists ix_tb_task_ordering")
        op.create_index(
            "ix_tb_task_ordering",
            "tb_task",
            ["principal", "ordering_key", "ordering_seq"],
            postgresql_where=sa.text("ordering_key is not null and status in ('pending', 'retrying')"),
            postgresql_concurrently=True,
        )
        for table, names in CHECKS.items():
            for name in names:
                op.execute(f"alter table {table} validate constraint {name}")


def downgrade() -> None:
    op.drop_index("ix_tb_task_ordering", "tb_task")
