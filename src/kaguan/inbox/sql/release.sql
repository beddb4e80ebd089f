-- 停机时交还仍未做完的：租约作废，由 relay 立刻按同一套规则定夺
with held as materialized (
    select t.id
    from tb_task t
    join unnest(%(task_ids)s::uuid[], %(deliveries)s::int[]) as h (task_id, delivery)
        on t.id = h.task_id and t.delivery = h.delivery
    where t.worker = %(worker)s and t.status = 'running'
    order by t.id
    for no key update of t
)
update tb_task t
set lease_until = '-infinity'
from held
where t.id = held.id
returning t.id
