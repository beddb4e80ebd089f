-- 每个进程每次心跳一条 UPDATE：续租仍归自己的；不在返回里的就是丢了。按号排好再锁，与成批的结算不会死锁。
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
set lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
from held
where t.id = held.id
returning t.id, t.delivery, t.cancel_requested_at is not null
