-- 意向记在记录上：别的都忘了，它还要说得出也许做过
-- 状态写成子查询：按号去找，别走那个满是死行的部分索引（docs/adr/0028）
update tb_task t
set intent_at = clock_timestamp()
from tb_work w
where t.id = %(task_id)s and t.delivery = %(delivery)s and t.status = {{undecided}}
  and w.task_id = t.id and w.delivery = t.delivery and w.claim_id = %(claim_id)s
  and {{gate_is_open}}
