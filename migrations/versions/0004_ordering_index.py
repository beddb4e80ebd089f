"""有序键的索引；校验 0003 换上的约束

都在事务之外、可以重来：并发建索引与校验约束不挡读写，要扫一遍大表，时限因此放开。

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

CHECKS = {
    "tb_task": ("ck_tb_task_type", "ck_tb_task_ordering", "ck_tb_task_ordering_key"),
    "tb_task_event": ("ck_tb_task_event_kind",),
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.execute("set lock_timeout = '30min'")  # 它等旧快照散去时没有人排在它身后
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
        op.execute("set statement_timeout = '60s'")
        op.execute("set lock_timeout = '500ms'")


def downgrade() -> None:
    op.drop_index("ix_tb_task_ordering", "tb_task")
