-- 记下的不可信时：在历史断开之前到期的、不能重做的，都有可能已做了；一页页看。
-- 在等外面恢复的也是：忘了的那段里也许被叫回来、寄出了，记着的到期却还在后头（recall）。
-- 正在跑的，忘了的那段里也许有过继任者：当作记下的更大
select t.id, t.delivery + case when w.lease_until is null then 0 else 1 end
from tb_task t
left join lateral (
    select w.lease_until from tb_work w where w.task_id = t.id and w.delivery = t.delivery limit 1
) as w on true
where t.id = any(array(
    (select task_id from tb_outbox where task_id > %(after)s order by task_id limit %(limit)s)
    union
    (select task_id from tb_work where task_id > %(after)s order by task_id limit %(limit)s)
    union
    (select id from tb_task where in_line is not null and id > %(after)s order by id limit %(limit)s)
  ))
  and t.status in ('pending', 'retrying') and t.type = any(%(types)s::text[])
  and (
      t.available_at <= %(before)s
      or exists (select from tb_outbox o where o.task_id = t.id and o.waiting_for is not null)
  )
order by t.id
limit %(limit)s
