-- 盯着几个任务：只取会变的
select id, type, status, attempt, max_attempts, progress
from vw_task
where id = any(%(task_ids)s)
