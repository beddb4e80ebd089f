"""The shop's tables, and its outbox."""

import sqlalchemy as sa
from alembic import op

from kaguan.outbox import install_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "shop_order",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.String, nullable=False),
        sa.Column("street", sa.String, nullable=False),
        sa.Column("parcel_sent_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "receipt",
        sa.Column("order_id", sa.Integer, sa.ForeignKey("shop_order.id"), primary_key=True),
        sa.Column("written_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )
    op.execute(install_sql("shop"))


def downgrade() -> None:
    op.execute("drop schema shop cascade")
    op.drop_table("receipt")
    op.drop_table("shop_order")
