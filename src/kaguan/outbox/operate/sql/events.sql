-- 尝试何时开始，结算时一并写在 detail 里；被收回的那一次是第几次（run）也在那里
select
    at, kind, coalesce((detail #>> '{run,attempt}')::int, attempt) as attempt,
    coalesce((detail #>> '{run,delivery}')::int, delivery) as delivery,
    worker, actor, detail - '{started_at,run}'::text[] as detail, traceparent,
    (detail ->> 'started_at')::timestamptz as started_at, (detail #>> '{run,queued_at}')::timestamptz as queued_at
from tb_task_event
where task_id = %(task_id)s
order by id
limit %(limit)s
