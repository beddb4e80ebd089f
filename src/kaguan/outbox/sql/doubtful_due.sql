-- 记下的不可信时：在历史断开之前到期的、不能重做的，都有可能已做了；一页页看
select id, delivery
from (
    (
        select id, delivery, type, intent_at, available_at
        from tb_task
        where status in ('pending', 'retrying') and id > %(after)s
    )
    union all
    (select id, delivery, type, intent_at, available_at from tb_task where status = 'queued' and id > %(after)s)
    union all
    (select id, delivery, type, intent_at, available_at from tb_task where status = 'running' and id > %(after)s)
) as t
where type = any(%(types)s::text[]) and intent_at is null and available_at <= %(before)s
order by id
limit %(limit)s
