-- 取到期的待交付行：每个队列至多 room 行，跳过别的 relay 正拿着的
select o.task_id, o.delivery, o.type, o.priority, o.traceparent, o.waited, o.alone
from unnest(%(priorities)s::smallint[], %(rooms)s::int[]) as q (priority, room)
cross join lateral (
    select
        task_id, delivery, type, priority, traceparent, alone,
        extract(epoch from clock_timestamp() - available_at)::float8 as waited
    from tb_outbox
    where parked_at is null and priority = q.priority and available_at <= now()
    order by available_at, task_id
    limit q.room
    for update skip locked
) as o
order by o.priority
