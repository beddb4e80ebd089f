-- 停机时交还仍未做完的：租约作废，由 relay 立刻按同一套规则定夺
update tb_task t
set lease_until = '-infinity'
from unnest(%(task_ids)s::uuid[], %(deliveries)s::int[]) as h (task_id, delivery)
where t.id = h.task_id and t.delivery = h.delivery and t.worker = %(worker)s and t.status = 'running'
returning t.id
