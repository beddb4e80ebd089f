-- 取到期的待交付行：每个队列至多 room 行，跳过别的 relay 正拿着的。到期看语句的时刻，不看事务的：一个事务里要看几眼
select o.task_id, o.delivery, o.type, o.priority, o.traceparent, o.waited, o.alone,
    extract(epoch from clock_timestamp())::float8 as now
from unnest(%(priorities)s::smallint[], %(rooms)s::int[]) as q (priority, room)
cross join lateral (
    select
        task_id, delivery, type, priority, traceparent, alone,
        extract(epoch from clock_timestamp() - available_at)::float8 as waited
    from tb_outbox
    where parked_at is null and priority = q.priority and available_at <= statement_timestamp()
    order by available_at, task_id
    limit q.room
    for update skip locked
) as o
order by o.priority
