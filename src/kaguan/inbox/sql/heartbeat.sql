-- 每个进程每次心跳一条 UPDATE：续租仍归自己的；不在返回里的就是丢了
update tb_task t
set lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
from unnest(%(task_ids)s::uuid[], %(deliveries)s::int[]) as h (task_id, delivery)
where t.id = h.task_id and t.delivery = h.delivery and t.worker = %(worker)s and t.status = 'running'
returning t.id, t.delivery, t.cancel_requested_at is not null
