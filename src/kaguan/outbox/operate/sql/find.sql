select {{found}}
from vw_task t
where t.id = %(task_id)s
