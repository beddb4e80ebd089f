-- 取到期的待交付行，跳过别的 relay 正拿着的。到期看语句的时刻，不看事务的：一个事务里要看几眼。
-- 这个事务里已经交出的（handed）等提交时一起删。新到的每个队列至多 room 行，从 age 秒之前看起；没交完的提交者另取，各从交到的那一行往后，至多 share 行
select o.task_id, o.delivery, o.type, o.priority, o.principal, t.traceparent, o.available_at, -- 次序照 Due 的字段
    extract(epoch from clock_timestamp() - o.available_at)::float8 as waited,
    extract(epoch from clock_timestamp())::float8 as now, o.alone,
    t.request_id,
    pause.id as pause, pause.until as paused_until
from (
    select fresh.*
    from unnest(%(priorities)s::smallint[], %(rooms)s::int[], %(ages)s::float8[]) as q (priority, room, age)
    cross join lateral (
        select *
        from tb_outbox
        where parked_at is null and priority = q.priority
          and available_at > statement_timestamp() - make_interval(secs => q.age)
          and available_at <= statement_timestamp()
          and (priority, principal) not in (select * from unnest(%(queues)s::smallint[], %(principals)s::text[]))
          and task_id <> all(%(handed)s::uuid[])
        order by available_at, task_id
        limit q.room
        for update skip locked
    ) as fresh
    union all
    select next.*
    from unnest(
        %(queues)s::smallint[], %(principals)s::text[], %(since)s::timestamptz[], %(after)s::uuid[], %(shares)s::int[]
    ) as c (priority, principal, since, after, share)
    cross join lateral (
        select *
        from tb_outbox
        where parked_at is null and priority = c.priority and principal = c.principal
          and (available_at, task_id) > (c.since, c.after) and available_at <= statement_timestamp()
          and task_id <> all(%(handed)s::uuid[])
        order by available_at, task_id
        limit c.share
        for update skip locked
    ) as next
) as o
left join lateral (select * from tb_task where id = o.task_id offset 0) as t on true
-- 停着的也取出来，搁到暂停结束：留在原处，后面的要一再走过它们
left join lateral (
    select p.id, p.until
    from tb_pause p
    where p.until > clock_timestamp() and p.name = case p.scope
        when 'type' then o.type
        when 'queue' then case o.priority when 0 then 'critical' when 1 then 'default' else 'low' end
        when 'caller' then o.principal
        when 'key' then t.ordering_key
    end
    order by p.until desc
    limit 1
) as pause on true
where {{gate_is_open}}
order by o.priority, o.available_at, o.task_id
