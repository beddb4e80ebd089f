"""做成的那次尝试的跟踪

加一个可空的列，不改写表。

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tb_task", sa.Column("attempt_traceparent", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("tb_task", "attempt_traceparent")
