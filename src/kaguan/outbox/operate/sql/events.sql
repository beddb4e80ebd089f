select at, kind, attempt, delivery, worker, actor, detail, traceparent
from tb_task_event
where task_id = %(task_id)s
order by id
limit %(limit)s
