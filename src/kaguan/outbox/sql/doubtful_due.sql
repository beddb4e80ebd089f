-- 记下的不可信时：在历史断开之前到期的、不能重做的，都有可能已做了；一页页看。
-- 正在跑的，忘了的那段里也许有过继任者：当作记下的更大
select id, case status when 'running' then delivery + 1 else delivery end
from (
    (
        select id, status, delivery, type, available_at
        from tb_task
        where status in ('pending', 'retrying') and id > %(after)s
    )
    union all
    (select id, status, delivery, type, available_at from tb_task where status = 'queued' and id > %(after)s)
    union all
    (select id, status, delivery, type, available_at from tb_task where status = 'running' and id > %(after)s)
) as t
where type = any(%(types)s::text[]) and available_at <= %(before)s
order by id
limit %(limit)s
