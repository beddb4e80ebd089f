"""在等名额的，按队列与提交者找：叫回来的时候谁堆了十万个也不挡着别人的一个

并发地建，不挡读写，可以重来。

Revision ID: 0022
Revises: 0021
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

NAME = "ix_tb_outbox_place"
COLUMNS = ["waiting_for", "priority", "principal", "waiting_since", "task_id"]


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.execute("set lock_timeout = '30min'")  # 它等旧快照散去时没有人排在它身后
        op.execute(f"drop index concurrently if exists {NAME}")  # 上次建到一半的索引是无效的
        op.create_index(
            NAME,
            "tb_outbox",
            COLUMNS,
            postgresql_where=sa.text("waiting_for is not null and parked_at is null"),
            postgresql_concurrently=True,
        )
        op.execute("set statement_timeout = '60s'")
        op.execute("set lock_timeout = '500ms'")


def downgrade() -> None:
    op.drop_index(NAME, "tb_outbox")
