-- 尝试何时开始，结算时一并写在 detail 里
select
    at, kind, attempt, delivery, worker, actor, detail - 'started_at' as detail, traceparent,
    (detail ->> 'started_at')::timestamptz as started_at
from tb_task_event
where task_id = %(task_id)s
order by id
limit %(limit)s
