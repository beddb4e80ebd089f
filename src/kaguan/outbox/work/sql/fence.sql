-- 处理器的每个写事务都先过这一关：令牌仍有效才往下走，并锁住任务行直到提交
select 1
from tb_task t
join tb_work w on w.task_id = t.id and w.delivery = t.delivery
where t.id = %(task_id)s and t.delivery = %(delivery)s and w.claim_id = %(claim_id)s
  and t.status in ('pending', 'retrying')
  -- 历史没有核对完的，写不进（docs/adr/0033）；结算也是
  and {{gate_is_open}}
for no key update of t
