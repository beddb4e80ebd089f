update tb_task t
set progress = %(progress)s, attempt_traceparent = %(traceparent)s
from tb_work w
where t.id = %(task_id)s and t.delivery = %(delivery)s and t.status in ('pending', 'retrying')
  and w.task_id = t.id and w.delivery = t.delivery and w.claim_id = %(claim_id)s
