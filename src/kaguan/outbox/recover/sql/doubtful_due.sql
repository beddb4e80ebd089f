-- 记下的不可信时：在历史断开之前到期的、不能重做的，都有可能已做了；沿号一页页看没有结局的（待交付的、手里的、排在同键之后的）。
-- 在等外面恢复的也是：忘了的那段里也许被叫回来、寄出了，记着的到期却还在后头（recall）。
-- 正在跑的，忘了的那段里也许有过继任者：当作记下的更大
with page as materialized (
    select id
    from (
        (select task_id as id from tb_outbox where task_id > %(after)s order by task_id limit %(limit)s)
        union
        (select task_id from tb_work where task_id > %(after)s order by task_id limit %(limit)s)
        union
        (select id from tb_task where in_line is not null and id > %(after)s order by id limit %(limit)s)
    ) as open
    order by id
    limit %(limit)s
),
due as (
    select t.id, t.delivery + case when w.lease_until is null then 0 else 1 end as delivery
    from tb_task t
    left join lateral (
        select w.lease_until from tb_work w where w.task_id = t.id and w.delivery = t.delivery limit 1
    ) as w on true
    where t.id = any(array(select id from page))
      and t.status in ('pending', 'retrying') and t.type = any(%(types)s::text[])
      and (
          t.available_at <= %(before)s
          or exists (select from tb_outbox o where o.task_id = any(array[t.id]) and o.waiting_for is not null)
      )
)
select
    -- 这一页没满就是看到头了
    (select id from (select id, row_number() over (order by id) as n from page) as p where n = %(limit)s) as last_id,
    coalesce(array_agg(id order by id), '{}') as ids,
    coalesce(array_agg(delivery order by id), '{}') as deliveries
from due
