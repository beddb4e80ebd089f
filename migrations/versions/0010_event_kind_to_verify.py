"""时间线的事件多一种：结局不明、先去查证（to_verify）

换约束是一条语句，不校验旧行，锁只要一瞬；校验在事务之外，不挡读写，可以重来。

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

OLD_KINDS = (
    "kind in ('attempt_failed', 'redriven', 'fenced', 'uncertain', 'cancel_requested', 'cancelled', 'retried', "
    "'interrupted', 'parked', 'resend', 'verified')"
)
NEW_KINDS = OLD_KINDS.replace("'verified'", "'to_verify', 'verified'")


def upgrade() -> None:
    _replace_check(NEW_KINDS)
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.execute("alter table tb_task_event validate constraint ck_tb_task_event_kind")
        op.execute("set statement_timeout = '60s'")


def downgrade() -> None:
    _replace_check(OLD_KINDS)


def _replace_check(condition: str) -> None:
    """旧行不校验：回退之后，新种类的旧行因此还能留着。"""
    op.execute(
        "alter table tb_task_event drop constraint if exists ck_tb_task_event_kind,"
        f" add constraint ck_tb_task_event_kind check ({condition}) not valid"
    )
