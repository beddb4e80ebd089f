"""PostgreSQL 的历史断了：提升的备库没有收到的尾巴不算数，表回到先前提交过的样子；手里拿着任务的谁也不知道。"""

from __future__ import annotations

TABLES = ("tb_task", "tb_outbox", "tb_task_event", "tb_email_delivery")


def in_one_statement(script: str) -> bytes:
    """逐表做；经连接池的一句只能是一条语句。"""
    return f"do $$ begin {'; '.join(script.format(one=one) for one in TABLES)}; end $$".encode()


KEEP = in_one_statement(
    "create table if not exists kept_{one} (like {one}); truncate kept_{one}; insert into kept_{one} table {one}"
)
CUT = in_one_statement("delete from {one}; insert into {one} overriding system value table kept_{one}")
