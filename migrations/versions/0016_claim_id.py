"""一次认领一个随机的号：它才是隔离令牌

数据库切换丢了尾巴，投递号会重复，随机的号不会（docs/adr/0032）。加一个可空的列，不改写表。
先扩后缩：上一版的 worker 不写它也不认它，所以新的两样都验——旧 worker 再认领时，列里还是前一个的，投递号说得出。

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tb_task", sa.Column("claim_id", sa.Uuid(), nullable=True))


def downgrade() -> None:
    op.drop_column("tb_task", "claim_id")
