"""判断的记忆放在 PostgreSQL 里：清空 Redis 忘不掉从何时起

Revision ID: 0020
Revises: 0019
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tb_concern",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("entry", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_tb_concern")),
    )


def downgrade() -> None:
    op.drop_table("tb_concern")
