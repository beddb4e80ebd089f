"""大表的死行清得勤：默认要攒到两成，百万行的表上就是二十万个死行

只改表的选项，不改写表。

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

OPTIONS = {"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_cost_delay": "0"}


def upgrade() -> None:
    options = ", ".join(f"{name} = {value}" for name, value in OPTIONS.items())
    for table in ("tb_task", "tb_task_event"):
        op.execute(f"alter table {table} set ({options})")


def downgrade() -> None:
    for table in ("tb_task", "tb_task_event"):
        op.execute(f"alter table {table} reset ({', '.join(OPTIONS)})")
