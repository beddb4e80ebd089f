"""任务到了谁手里，由用例写下：不经交出与认领。"""

from __future__ import annotations

from typing import LiteralString

# 交出了，在等 worker；参数是任务号
HAND: LiteralString = """
insert into tb_work (task_id, delivery, priority)
select id, delivery, case queue when 'critical' then 0 when 'default' then 1 else 2 end from tb_task where id = any(%s)
"""
# 认领了，加锁与真的认领一样；参数是 worker、租约还有多久、任务号
HOLD: LiteralString = """
with wanted as materialized (
    select *, %s::text as holder, clock_timestamp() + %s::interval as until
    from tb_task where id = any(%s) order by id for no key update
)
insert into tb_work (task_id, delivery, priority, claim_id, attempt, worker, started_at, lease_until)
select
    id, delivery, case queue when 'critical' then 0 when 'default' then 1 else 2 end, gen_random_uuid(), attempt + 1,
    holder, clock_timestamp(), until
from wanted
on conflict (task_id) do update
set delivery = excluded.delivery, claim_id = excluded.claim_id, attempt = excluded.attempt, worker = excluded.worker,
    started_at = excluded.started_at, lease_until = excluded.lease_until
"""


def ended(statement: LiteralString) -> LiteralString:
    """测试自己写下结局的语句，也照结算那样记进 ``tb_ended``：走势看的是它。"""
    return f"""
        with ended as ({statement} returning type, queue, status, finished_at)
        insert into tb_ended (at, type, queue, status)
        select finished_at, type, queue, status from ended where finished_at is not null
    """
