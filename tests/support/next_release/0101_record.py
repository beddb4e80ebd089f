"""记录多一列，它的写法有约束，按它找有索引

加可空的列只要一瞬；约束不校验旧行，校验与建索引在事务之外，不挡读写，可以重来。

Revision ID: 0101
Revises: 0100
"""

from __future__ import annotations

from alembic import op

revision = "0101"
down_revision = "0100"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "alter table tb_task add column if not exists colour text, drop constraint if exists ck_tb_task_colour,"
        " add constraint ck_tb_task_colour check (length(colour) <= 64) not valid"
    )
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.execute("set lock_timeout = '30min'")  # 它等旧快照散去时没有人排在它身后
        op.execute("alter table tb_task validate constraint ck_tb_task_colour")
        op.execute("drop index concurrently if exists ix_tb_task_colour")  # 上次建到一半的是无效的
        op.execute("create index concurrently ix_tb_task_colour on tb_task (colour, id) where colour is not null")
        op.execute("set statement_timeout = '60s'")
        op.execute("set lock_timeout = '500ms'")


def downgrade() -> None:
    op.execute("drop index ix_tb_task_colour")
    op.execute("alter table tb_task drop column colour")
