"""审计的保留期：没认出是谁的拒绝有自己的索引；relay 最近一次交出的时刻

索引并发地建，不挡读写，可以重来；加列只要一瞬的锁。

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.execute("set lock_timeout = '30min'")  # 它等旧快照散去时没有人排在它身后
        # 上次建到一半的索引是无效的，先去掉
        op.execute("drop index concurrently if exists ix_tb_audit_anonymous")
        op.create_index(
            "ix_tb_audit_anonymous",
            "tb_audit",
            ["at"],
            postgresql_where=sa.text("token_id is null and outcome = 'refused'"),
            postgresql_concurrently=True,
        )
        op.execute("set statement_timeout = '60s'")
        op.execute("set lock_timeout = '500ms'")
    op.add_column("tb_broker", sa.Column("forwarded_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("tb_broker", "forwarded_at")
    op.drop_index("ix_tb_audit_anonymous", "tb_audit")
