-- 这些投递里，PostgreSQL 还算在手里的：在等 worker，或在执行
select w.task_id, w.delivery
from unnest(%(task_ids)s::uuid[], %(deliveries)s::int[]) as asked (task_id, delivery)
join tb_work w on w.task_id = asked.task_id and w.delivery = asked.delivery
