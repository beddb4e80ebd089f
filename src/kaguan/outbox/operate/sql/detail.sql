-- 看一个任务的人要的：记录，有没有例外，一行摘要
select
    {{found}},
    exists (select from tb_task_event e where e.task_id = t.id) as noted,
    {{summarised}} as told
from vw_task t
where t.id = %(task_id)s
