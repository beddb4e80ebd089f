"""单行的表多一列

Revision ID: 0103
Revises: 0102
"""

from __future__ import annotations

from alembic import op

revision = "0103"
down_revision = "0102"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table tb_broker add column name text")


def downgrade() -> None:
    op.execute("alter table tb_broker drop column name")
