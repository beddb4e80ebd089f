"""抄在 Redis 里的要认得出是我们写的：盖印的钥匙在 PostgreSQL 里

新的一张单行的表，加它只要一瞬；旧的进程不认得它，也不碰。

Revision ID: 0021
Revises: 0020
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tb_seal",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "key",
            sa.LargeBinary(),
            server_default=sa.text("uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())"),
            nullable=False,
        ),
        sa.CheckConstraint("id = 1", name="single"),
        sa.PrimaryKeyConstraint("id", name="pk_tb_seal"),
    )
    op.execute("insert into tb_seal (id) values (1)")


def downgrade() -> None:
    op.drop_table("tb_seal")
