"""提交者与请求号的唯一索引换个次序，单按请求号找也用得上它：少一个索引，每个任务少写三次

并发地建，不挡读写，可以重来。``on conflict (principal, request_id)`` 不看次序，旧的进程照旧。新的还没有验完的片刻，
同一刻来的两个同号的请求，后一个也许出错而不是得到前一个的答复；再来一次就是了。

Revision ID: 0018
Revises: 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

OLD, ALONE, NEW = "uq_tb_task_principal_request_id", "ix_tb_task_request_id", "uq_tb_task_request_id_principal"


def upgrade() -> None:
    _swap({NEW: (["request_id", "principal"], True)}, [OLD, ALONE])


def downgrade() -> None:
    _swap({OLD: (["principal", "request_id"], True), ALONE: (["request_id"], False)}, [NEW])


def _swap(made: dict[str, tuple[list[str], bool]], dropped: list[str]) -> None:
    """先建后删：任何时候都有一个唯一的。"""
    given = sa.text("request_id is not null")
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.execute("set lock_timeout = '30min'")  # 它等旧快照散去时没有人排在它身后
        for name, (columns, unique) in made.items():
            op.execute(f"drop index concurrently if exists {name}")  # 上次建到一半的索引是无效的
            op.create_index(
                name, "tb_task", columns, unique=unique, postgresql_where=given, postgresql_concurrently=True
            )
        for name in dropped:
            op.execute(f"drop index concurrently if exists {name}")
        op.execute("set statement_timeout = '60s'")
        op.execute("set lock_timeout = '500ms'")
