-- 有序的任务，锁住它的键：正在放行它的人写完了，才看得见它有没有发件箱行
select 1
from tb_ordering o
where (o.principal, o.key) = (select t.principal, t.ordering_key from tb_task t where t.id = %(task_id)s)
for update of o
