-- 处理器的每个写事务都先过这一关：令牌仍有效才往下走，并锁住任务行直到提交
select 1
from tb_task
where id = %(task_id)s and delivery = %(delivery)s and status = 'running'
for no key update
