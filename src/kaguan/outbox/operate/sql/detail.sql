-- 看这些任务的人要的：记录，有没有例外，一行摘要；没有的任务没有行。一个号找一遍：合在一起问的，各只按主键
select d.*
from unnest(%(task_ids)s::uuid[]) as asked (task_id)
cross join lateral (
    select
        {{found}},
        exists (select from tb_task_event e where e.task_id = t.id) as noted,
        {{summarised}} as told
    from vw_task t
    where t.id = asked.task_id
    limit 1
) as d
