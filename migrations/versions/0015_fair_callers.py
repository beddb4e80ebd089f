"""待交付的行说得出是谁提交的：取件轮流来，谁堆了十万个也不挡着别人的一个

加有常量默认值的列只要一瞬，不重写表。旧版本写下的、升级前就在等的是空串：合在一起当一个提交者，照样轮得到。
旧的 relay 仍走 ix_tb_outbox_due（新的也用它看新到的），旁边多一个索引不碍它。并发地建，不挡读写，可以重来。

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table tb_outbox add column if not exists principal text not null default ''")
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.execute("set lock_timeout = '30min'")  # 它等旧快照散去时没有人排在它身后
        op.execute("drop index concurrently if exists ix_tb_outbox_caller")  # 上次建到一半的是无效的
        op.execute(
            "create index concurrently ix_tb_outbox_caller"
            " on tb_outbox (priority, principal, available_at, task_id) where parked_at is null"
        )
        op.execute("set statement_timeout = '60s'")
        op.execute("set lock_timeout = '500ms'")


def downgrade() -> None:
    op.execute("drop index ix_tb_outbox_caller")
    op.execute("alter table tb_outbox drop column principal")
