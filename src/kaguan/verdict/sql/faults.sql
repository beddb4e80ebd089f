-- 最近的例外：只在最新的一段里找
select f.id, f.at, f.kind, f.task_id, f.attempt, f.worker, f.detail, t.type
from (
    select id, at, kind, task_id, attempt, worker, detail
    from tb_task_event
    order by id desc
    limit %(scan)s
) as f
left join tb_task t on t.id = f.task_id
where f.kind = any(%(kinds)s::text[])
order by f.id desc
limit %(limit)s
