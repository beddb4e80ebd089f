"""列表按受理、按改动的时间排，按号码找卡：各要一个索引

并发地建，不挡读写，可以重来。

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

LIVE = "deleted_at is null"
INDEXES = (
    *(
        (f"ix_{table}_{column}_id", table, column, LIVE)
        for table in ("tb_user", "tb_order", "tb_sim")
        for column in ("created_at", "updated_at")
    ),
    ("ix_tb_sim_msisdn", "tb_sim", "msisdn", f"{LIVE} and msisdn is not null"),
    ("ix_tb_sim_imsi", "tb_sim", "imsi", f"{LIVE} and imsi is not null"),
)


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.execute("set lock_timeout = '30min'")  # 它等旧快照散去时没有人排在它身后
        for name, table, column, where in INDEXES:
            # 上次建到一半的索引是无效的，先去掉
            op.execute(f"drop index concurrently if exists {name}")
            op.create_index(name, table, [column, "id"], postgresql_where=sa.text(where), postgresql_concurrently=True)
        op.execute("set statement_timeout = '60s'")
        op.execute("set lock_timeout = '500ms'")


def downgrade() -> None:
    for name, table, _, _ in INDEXES:
        op.drop_index(name, table)
