-- 认领不到的里面，任务不存在的：记一次（又见到它的投递不再记）
insert into tb_vanished (task_id, type, request_id, delivery)
select m.task_id, %(type)s, m.request_id, m.delivery
from unnest(%(task_ids)s::uuid[], %(deliveries)s::int[], %(request_ids)s::text[]) as m (task_id, delivery, request_id)
-- 一个一个按号去找，不看遍所有的任务
left join lateral (select t.id from tb_task t where t.id = m.task_id limit 1) as t on true
where t.id is null
order by m.task_id
on conflict (task_id) do nothing
returning task_id, delivery, request_id
