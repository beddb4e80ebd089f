-- 任务也许已过保留期被删去：不给不存在的任务留痕
insert into tb_task_event (task_id, kind, attempt, delivery, worker)
select id, 'fenced', %(attempt)s, %(delivery)s, %(worker)s
from tb_task
where id = %(task_id)s
