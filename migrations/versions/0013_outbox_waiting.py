"""待交付的行说得出在等外面的谁、从何时起：量表数得出，它恢复了叫得回来

加可空的列只要一瞬；约束不校验旧行（旧行都是空），索引并发地建，不挡读写，可以重来。

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "alter table tb_outbox add column if not exists waiting_for text,"
        " add column if not exists waiting_since timestamptz,"
        " drop constraint if exists ck_tb_outbox_waiting,"
        " add constraint ck_tb_outbox_waiting check ((waiting_for is null) = (waiting_since is null)) not valid"
    )
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.execute("set lock_timeout = '30min'")  # 它等旧快照散去时没有人排在它身后
        op.execute("alter table tb_outbox validate constraint ck_tb_outbox_waiting")
        # 上次建到一半的索引是无效的，先去掉
        op.execute("drop index concurrently if exists ix_tb_outbox_waiting")
        op.create_index(
            "ix_tb_outbox_waiting",
            "tb_outbox",
            ["waiting_for", "waiting_since", "task_id"],
            postgresql_where=sa.text("waiting_for is not null and parked_at is null"),
            postgresql_concurrently=True,
        )
        op.execute("set statement_timeout = '60s'")
        op.execute("set lock_timeout = '500ms'")


def downgrade() -> None:
    op.drop_index("ix_tb_outbox_waiting", "tb_outbox")
    op.execute("alter table tb_outbox drop column waiting_since, drop column waiting_for")
