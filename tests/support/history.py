"""PostgreSQL 的历史断了：提升的备库没有收到的尾巴不算数，表回到先前提交过的样子；手里拿着任务的谁也不知道。"""

from __future__ import annotations

TABLES = ("tb_task", "tb_outbox", "tb_task_event", "tb_email_delivery")
KEEP = "; ".join(
    f"create table if not exists kept_{one} (like {one}); truncate kept_{one}; insert into kept_{one} table {one}"
    for one in TABLES
).encode()
CUT = "; ".join(
    f"delete from {one}; insert into {one} overriding system value table kept_{one}"  # noqa: S608 表名是上面的
    for one in TABLES
).encode()
