"""发件箱的一个索引

并发地建，不挡读写，可以重来。

Revision ID: 0102
Revises: 0101
"""

from __future__ import annotations

from alembic import op

revision = "0102"
down_revision = "0101"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.execute("set lock_timeout = '30min'")  # 它等旧快照散去时没有人排在它身后
        op.execute("drop index concurrently if exists ix_tb_outbox_type")  # 上次建到一半的是无效的
        op.execute("create index concurrently ix_tb_outbox_type on tb_outbox (type, task_id)")
        op.execute("set statement_timeout = '60s'")
        op.execute("set lock_timeout = '500ms'")


def downgrade() -> None:
    op.execute("drop index ix_tb_outbox_type")
