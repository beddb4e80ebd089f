"""任务类型的 CHECK 只管写法，不再列举：加一种任务从此不用迁移

换约束是一条语句，不校验旧行，锁只要一瞬；校验在事务之外，不挡读写，可以重来。

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

LISTED = "type in ('email:send', 'data:sync', 'sim:status_sync', 'event:publish')"
FORMAT = "type ~ '^[a-z][a-z0-9_]*(:[a-z][a-z0-9_]*)+$' and length(type) <= 64"


def upgrade() -> None:
    _replace_check(FORMAT)
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.execute("alter table tb_task validate constraint ck_tb_task_type")
        op.execute("set statement_timeout = '60s'")


def downgrade() -> None:
    _replace_check(LISTED)


def _replace_check(condition: str) -> None:
    """旧行不校验：回退之后，新类型的旧行因此还能留着。"""
    op.execute(
        "alter table tb_task drop constraint if exists ck_tb_task_type,"
        f" add constraint ck_tb_task_type check ({condition}) not valid"
    )
