select type, payload
from tb_task
where id = %(task_id)s
