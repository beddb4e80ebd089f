-- 人要决定的这一个：锁住，等别人放手
select status, delivery
from tb_task
where id = %(task_id)s
for no key update
