"""PostgreSQL 的历史断了：提升的备库没有收到的尾巴不算数，表回到先前提交过的样子；手里拿着任务的谁也不知道。"""

from __future__ import annotations

TABLES = ("tb_task", "tb_work", "tb_outbox", "tb_task_event", "tb_email_delivery")
# 受理之外的；先有令牌才有会话
OTHERS = ("tb_api_token", "tb_session", "tb_user", "tb_idempotency_key", "tb_schedule")
PROMOTE = "update tb_broker set incarnation = '-infinity', history = '1:00000001'"  # 就像备库被提升


def in_one_statement(script: str, *tables: str) -> bytes:
    """逐表做；经连接池的一句只能是一条语句。"""
    return f"do $$ begin {'; '.join(script.format(one=one) for one in tables)}; end $$".encode()


KEPT = "create table if not exists kept_{one} (like {one}); truncate kept_{one}; insert into kept_{one} table {one}"
# 生成的列不抄，自己会有
BACK = """delete from {one}; execute (
    select 'insert into {one} (' || names || ') overriding system value select ' || names || ' from kept_{one}'
    from (
        select string_agg(attname, ', ') as names
        from pg_attribute where attrelid = '{one}'::regclass and attnum > 0 and not attisdropped and attgenerated = ''
    ) as own
)"""
KEEP, CUT = (in_one_statement(script, *TABLES) for script in (KEPT, BACK))
KEEP_ALL, CUT_ALL = (in_one_statement(script, *TABLES, *OTHERS) for script in (KEPT, BACK))
