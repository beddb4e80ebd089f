-- 记下的不可信时：在历史断开之前到期的、不能重做的，都有可能已做了；一页页看。
-- 在等外面恢复的也是：忘了的那段里也许被叫回来、寄出了，记着的到期却还在后头（recall）。
-- 正在跑的，忘了的那段里也许有过继任者：当作记下的更大
select id, delivery + case when running then 1 else 0 end
from (
    select t.id, t.delivery, t.type, t.available_at, w.lease_until is not null as running
    from tb_task t
    left join lateral (
        select w.lease_until from tb_work w where w.task_id = t.id and w.delivery = t.delivery limit 1
    ) as w on true
    where t.status in ('pending', 'retrying') and t.id > %(after)s
    union all
    -- 0.2.0 的进程交出、认领的
    select t.id, t.delivery, t.type, t.available_at, w.lease_until is not null
    from tb_work w
    join tb_task t on t.id = w.task_id and t.delivery = w.delivery
    where t.status in ('queued', 'running') and w.task_id > %(after)s
) as open
where type = any(%(types)s::text[])
  and (
      available_at <= %(before)s
      or exists (select from tb_outbox o where o.task_id = open.id and o.waiting_for is not null)
  )
order by id
limit %(limit)s
