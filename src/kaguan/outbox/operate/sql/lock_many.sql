-- 人要决定的这些：仍是看到的那一次投递才算，正被别人锁着的这次不等
select t.id
from tb_task t
join unnest(%(task_ids)s::uuid[], %(deliveries)s::int[]) as shown (id, delivery)
    on t.id = shown.id and t.delivery = shown.delivery
order by t.id
for no key update of t skip locked
