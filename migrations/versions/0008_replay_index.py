"""按类型重放失败的任务用的索引：死信再多，只碰要的那几行

并发地建，不挡读写，可以重来。

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.execute("set lock_timeout = '30min'")  # 它等旧快照散去时没有人排在它身后
        # 上次建到一半的索引是无效的，先去掉
        op.execute("drop index concurrently if exists ix_tb_task_dead")
        op.create_index(
            "ix_tb_task_dead",
            "tb_task",
            ["status", "type", "id"],
            postgresql_where=sa.text("status in ('failed', 'uncertain')"),
            postgresql_concurrently=True,
        )
        op.execute("set statement_timeout = '60s'")
        op.execute("set lock_timeout = '500ms'")


def downgrade() -> None:
    op.drop_index("ix_tb_task_dead", "tb_task")
